"""The session's one kernel, as Jupyter's managers see it. Only the agent can end it."""

# mypy: allow-untyped-calls
# Jupyter's own classes are typed only here and there.

from __future__ import annotations

import os
import re
import uuid
from concurrent.futures import Future
from typing import Any, Final

from jupyter_client import protocol_version
from jupyter_client.connect import port_names
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import (
    AsyncMappingKernelManager,
    ServerKernelManager,
)
from jupyter_server.services.sessions.sessionmanager import SessionManager

from sparkowl.agent.desk import DeskError
from sparkowl.agent.jupyter.gate import Gate
from sparkowl.agent.jupyter.refusals import Refused, refused

NAME: Final = "sparkowl"
#: What a page that is away for a moment gets when it is back. A page that stays away forgets.
_BUFFERED_BYTES: Final = 32 << 20
_ID: Final = re.compile(r"\w+-\w+-\w+-\w+-\w+")


class OneSpec(KernelSpecManager):  # type: ignore[misc]  # untyped
    """One kernelspec, whatever is installed on the machine."""

    def find_kernel_specs(self) -> dict[str, str]:
        return {NAME: os.devnull}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            display_name="SparkOwl", language="python", interrupt_mode="message", argv=[]
        )

    def get_all_specs(self) -> dict[str, Any]:
        spec = self.get_kernel_spec(NAME).to_dict()
        return {NAME: {"resource_dir": os.devnull, "spec": spec}}


class AgentsKernel(ServerKernelManager):
    """A kernel that somebody else started: only how to reach it."""

    kernel_name = NAME

    def load(self, connection_file: str) -> None:
        for port in port_names:
            setattr(self, port, 0)  # else what it was before is kept
        self.load_connection_file(connection_file)
        prefix = str(self.ip)  # type: ignore[has-type]  # a trait
        if self.transport == "ipc" and not prefix.startswith("/"):
            # The kernel was started in the driver's folder, this process one below.
            self.ip = f"../{prefix}"

    @property
    def ready(self) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def is_alive(self) -> bool:
        return True


class OneKernel(AsyncMappingKernelManager):
    """Exactly one kernel, whose id is the session's. Starting gives it; shutting down keeps it."""

    kernel_id: str

    def attach(self) -> None:
        """Before the first request."""
        base_url: str = self.parent.base_url
        self.default_kernel_name = NAME
        self.kernel_id = _id_in(base_url)
        kernel = AgentsKernel(parent=self, log=self.log, kernel_id=self.kernel_id)
        kernel.load(self.parent.connection_file)
        # Else the first page would ask for it, and wait while something runs.
        info: Future[dict[str, Any]] = Future()
        info.set_result({"protocol_version": protocol_version})
        kernel._kernel_info_future = info
        self._kernels[self.kernel_id] = kernel
        self._kernel_connections[self.kernel_id] = 0
        self._kernel_ports[self.kernel_id] = kernel.ports
        self.start_watching_activity(self.kernel_id)
        kernel.execution_state = "idle"

    async def start_kernel(self, **_: Any) -> str:
        return self.kernel_id

    async def shutdown_kernel(
        self, kernel_id: str, now: bool = False, restart: bool = False
    ) -> None:
        """The kernel ends with its session, by TerminateSession."""
        self._check_kernel_id(kernel_id)

    async def shutdown_all(self, **_: Any) -> None:
        """As above."""

    async def interrupt_kernel(self, kernel_id: str) -> None:
        self._check_kernel_id(kernel_id)
        await self._ask("interrupt")

    async def restart_kernel(self, kernel_id: str, now: bool = False) -> None:
        """Another kernel and another Spark; every open page is told and goes on with them."""
        self._check_kernel_id(kernel_id)
        try:
            await self._ask("restart")
        except Refused:
            Gate.tell_all("dead")
            raise
        kernel = self._kernels[kernel_id]
        self.stop_watching_activity(kernel_id)
        self.stop_buffering(kernel_id)
        kernel.load(self.parent.connection_file)
        self._kernel_ports[kernel_id] = kernel.ports
        self.start_watching_activity(kernel_id)
        kernel.execution_state = "idle"
        Gate.reconnect_all()
        Gate.tell_all("idle")

    async def _ask(self, what: str) -> None:
        try:
            await self.parent.desk.ask(what)
        except DeskError as error:
            raise refused(error) from error

    def start_buffering(self, kernel_id: str, session_key: str, channels: dict[str, Any]) -> None:
        """As Jupyter does, but what an absent page would get must not fill the memory."""
        super().start_buffering(kernel_id, session_key, channels)
        buffered = self._kernel_buffers[kernel_id]["buffer"]
        size = 0

        def keep(channel: str, parts: list[bytes]) -> None:
            nonlocal size
            size += sum(map(len, parts))
            buffered.append((channel, parts))
            if size > _BUFFERED_BYTES:
                self.stop_buffering(kernel_id)

        for name, stream in channels.items():
            stream.on_recv(lambda parts, name=name: keep(name, parts))


class Sessions(SessionManager):
    """Each path that a page asks for, attached to the one kernel.

    The notebook's is always there, so that no page asks its user which kernel to take.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kept: dict[str, dict[str, Any]] = {}

    def _model(self, session_id: str) -> dict[str, Any]:
        kernel_id = self.kernel_manager.kernel_id
        return self._kept[session_id] | {"kernel": self.kernel_manager.kernel_model(kernel_id)}

    def _keep(self, path: str, name: str | None, type_: str | None) -> str:
        session_id = str(uuid.uuid5(uuid.NAMESPACE_URL, path))
        kept: dict[str, Any] = {
            "id": session_id,
            "path": path,
            "name": name or path,
            "type": type_ or "notebook",
        }
        if kept["type"] == "notebook":
            kept["notebook"] = {"path": path, "name": kept["name"]}
        self._kept.setdefault(session_id, kept)
        return session_id

    @property
    def _own(self) -> str:
        server: Any = self.parent
        return str(server.notebook)

    def _keep_own(self) -> None:
        self._keep(self._own, None, "notebook")

    async def session_exists(self, path: str) -> bool:
        self._keep_own()
        return any(kept["path"] == path for kept in self._kept.values())

    async def create_session(
        self,
        path: str | None = None,
        name: str | None = None,
        type: str | None = None,
        kernel_name: str | None = None,
        kernel_id: str | None = None,
    ) -> dict[str, Any]:
        return self._model(self._keep(str(path), name, type))

    async def get_session(self, **wanted: Any) -> dict[str, Any]:
        self._keep_own()
        wanted["id"] = wanted.pop("session_id", None)
        wanted = {key: value for key, value in wanted.items() if value is not None}
        for session_id, kept in self._kept.items():
            if all(kept.get(key) == value for key, value in wanted.items()):
                return self._model(session_id)
        raise Refused(404, "There is no such session.")

    async def update_session(self, session_id: str, **changes: Any) -> None:
        """A page's session of another file may change its name; the notebook's own never does."""
        kept = self._kept.get(session_id)
        if kept is not None and kept["path"] != self._own:
            kept |= {key: changes[key] for key in ("path", "name", "type") if key in changes}

    async def start_kernel_for_session(self, *_: Any, **__: Any) -> str:
        kernel_id: str = self.kernel_manager.kernel_id
        return kernel_id

    async def list_sessions(self) -> list[dict[str, Any]]:
        self._keep_own()
        return [self._model(session_id) for session_id in self._kept]

    async def delete_session(self, session_id: str) -> None:
        await self.get_session(session_id=session_id)
        del self._kept[session_id]


def _id_in(base_url: str) -> str:
    last = base_url.strip("/").split("/")[-1]
    return last if _ID.fullmatch(last) else str(uuid.uuid5(uuid.NAMESPACE_URL, base_url))

"""A relay as a front end has it: a process, started by Jupyter's own kernel manager."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient, KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from tests.relay.stand import PATIENT_S, Athena, Jupyter, Line, jupyter, served

from sparkowl.relay import kernelspec
from sparkowl.relay.options import Options, Place


@pytest.fixture(scope="package")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as started:
        yield started


@dataclass
class Ran:
    """What a front end saw of a cell."""

    reply: dict[str, Any] = field(default_factory=dict)
    idle: bool = False
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def text(self, stream: str) -> str:
        said = (m["content"] for m in self.outputs if m["msg_type"] == "stream")
        return "".join(content["text"] for content in said if content["name"] == stream)

    def errors(self) -> list[str]:
        return [m["content"]["evalue"] for m in self.outputs if m["msg_type"] == "error"]


@dataclass
class Kernel:
    """A running relay and its front end."""

    manager: KernelManager
    client: BlockingKernelClient
    athena: Athena
    line: Line
    stack: ExitStack
    #: By what was asked.
    heard: dict[str, Ran] = field(default_factory=lambda: defaultdict(Ran))

    @property
    def pid(self) -> int:
        pid = self.manager.provisioner.pid
        assert isinstance(pid, int)
        return pid

    def run(self, code: str, **more: Any) -> Ran:
        return self.result(self.client.execute(code, **more))

    def result(self, asked: str) -> Ran:
        """The reply of a cell and all that came until the kernel was idle again."""
        ran, ends = self.heard[asked], time.monotonic() + PATIENT_S
        while not (ran.idle and ran.reply):
            assert time.monotonic() < ends, ran
            for get in (self.client.get_iopub_msg, self.client.get_shell_msg):
                with suppress(Empty):
                    self._note(get(timeout=0.05))
        return ran

    def _note(self, message: dict[str, Any]) -> None:
        ran = self.heard[message["parent_header"].get("msg_id", "")]
        if message["msg_type"] == "execute_reply":
            ran.reply = message["content"]
        elif message["msg_type"] == "status":
            ran.idle = message["content"]["execution_state"] == "idle"
        else:
            ran.outputs.append(message)

    def until(self, kind: str, asked: str) -> dict[str, Any]:
        """The first message of a kind that a cell leads to."""
        ran, ends = self.heard[asked], time.monotonic() + PATIENT_S
        while not (found := [m for m in ran.outputs if m["msg_type"] == kind]):
            assert time.monotonic() < ends, ran
            with suppress(Empty):
                self._note(self.client.get_iopub_msg(timeout=0.05))
        return found[0]

    def another(self) -> Kernel:
        """Another front end of the same kernel."""
        client = BlockingKernelClient(connection_file=self.manager.connection_file)
        client.load_connection_file()
        client.start_channels()
        self.stack.callback(client.stop_channels)
        client.wait_for_ready(timeout=30)
        return replace(self, client=client, heard=defaultdict(Ran))

    def ended(self) -> bool:
        return not self.manager.is_alive()


@pytest.fixture
def kernel(remote: Jupyter, tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Starts a relay; ``prepare`` changes what it meets, ``options`` what its kernelspec says."""
    with ExitStack() as stack:

        def start(
            prepare: Callable[[Athena, Line], None] = lambda athena, line: None,
            options: Options = Options(),  # noqa: B008 - frozen
            environment: dict[str, str] | None = None,
            **more: Any,
        ) -> Kernel:
            line = Line(remote.port)
            stack.callback(line.close)
            athena = Athena(remote.link(line.port))
            prepare(athena, line)
            place = Place(endpoint_url=stack.enter_context(served(athena)))
            if options.place == Place():
                options = replace(options, place=place)
            kernelspec.install(options, "SparkOwl", str(tmp_path))
            specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])
            manager = KernelManager(
                kernel_name=options.name, kernel_spec_manager=specs, shutdown_wait_time=10, **more
            )
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
            manager.start_kernel(env=os.environ | keys | (environment or {}))
            client = manager.client()
            client.start_channels()
            stack.callback(manager.cleanup_resources)
            stack.callback(lambda: manager.shutdown_kernel(now=not manager.is_alive()))
            stack.callback(client.stop_channels)
            return Kernel(manager, client, athena, line, stack)

        yield start

"""A session's Jupyter process with a real kernel, and the agent's end of its desk."""

# mypy: allow-untyped-calls

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from websockets.sync.client import unix_connect
from websockets.typing import Subprotocol

from sparkowl.agent import desk

_BINARY = "v1.kernel.websocket.jupyter.org"
SESSION = "3b0c5b9a-9c26-4a6e-8a55-1f3d3e1c2a77"
BASE = f"/notebooks/{SESSION}/"
TOKEN = "let-me-in"
NAME = "flights.ipynb"

_KERNEL = """
import sys
from ipykernel.kernelapp import IPKernelApp
from traitlets.config import Config
from zmq import curve_keypair
c = Config()
c.IPKernelApp.connection_file = sys.argv[1]
c.IPKernelApp.transport = "ipc"
c.IPKernelApp.ip = "kernel/k"
c.Session.key = sys.argv[2].encode()
app = IPKernelApp.instance(config=c)
app.curve_publickey, app.curve_secretkey = curve_keypair()
app.initialize([])
app.start()
"""


class FakeAgent:
    """Answers the desk as the agent does, with one real kernel and one notebook in memory.

    Cells may run one at a time, in order; one that fails cancels those of its page that wait.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[dict[str, Any]] = []
        self.payload = ""
        self.version = 0
        #: An answer instead of the usual one, by what is asked.
        self.errors: dict[str, tuple[int, str]] = {}
        #: Cells are not answered by themselves; by :meth:`answer`.
        self.holds = False
        self._kernel: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._changed = threading.Condition()
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """The process, which waits to be told what to serve."""
        (self.folder / "jupyter").mkdir(parents=True)

        ours, theirs = socket.socketpair()
        self._ends = ours, theirs
        with (self.folder / "jupyter.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sparkowl.agent.jupyter", str(theirs.fileno())],
                cwd=self.folder / "jupyter",
                pass_fds=[theirs.fileno()],
                stderr=log,
                env=os.environ | {"HOME": "/nonexistent"},
            )
        theirs.close()
        threading.Thread(target=self._listen, args=(ours,), daemon=True).start()
        return self._process

    def serve(self) -> None:
        """Tell it, and wait until it does."""
        self.tell(
            tell="serve",
            base_url=BASE,
            token=TOKEN,
            notebook=NAME,
            connection_file=str(self.folder / "kernel" / "connection.json"),
        )
        until(lambda: (self.folder / "jupyter" / "s").exists(), "it serves")

    def start_kernel(self) -> None:
        (self.folder / "kernel").mkdir(parents=True, exist_ok=True)
        connection = self.folder / "kernel" / "connection.json"
        connection.unlink(missing_ok=True)
        self._kernel = subprocess.Popen(
            [sys.executable, "-c", _KERNEL, str(connection), os.urandom(8).hex()],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(connection.exists, "the kernel has its sockets")

    @property
    def kernel_pid(self) -> int:
        assert self._kernel is not None
        return self._kernel.pid

    def tell(self, **frame: Any) -> None:
        assert self._ends is not None
        self._ends[0].sendall(desk.encode(frame))

    def hang_up(self) -> None:
        """As when the agent dies."""
        assert self._ends is not None
        with suppress(OSError):
            self._ends[0].shutdown(socket.SHUT_RDWR)
        self._ends[0].close()

    def stop(self) -> None:
        if self._ends is not None:
            self.hang_up()
        for process in (self._process, self._kernel):
            if process is not None:
                process.kill()
                process.wait()

    def _listen(self, ours: socket.socket) -> None:
        with suppress(OSError), ours.makefile("rb") as lines:
            for line in lines:
                frame = desk.decode(line)
                with self._changed:
                    self.asked.append(frame)
                    self._changed.notify_all()
                if not (self.holds and frame["ask"] == "cell"):
                    self._answer(frame)

    def _answer(self, frame: dict[str, Any]) -> None:
        if frame["ask"] in self.errors:
            status, message = self.errors[frame["ask"]]
            self.tell(id=frame["id"], error={"status": status, "message": message})
            return
        answer = getattr(self, f"_{frame['ask']}")(frame)
        self.tell(id=frame["id"], answer=answer)

    def _cell(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"run": True}

    def _interrupt(self, _: dict[str, Any]) -> dict[str, Any]:
        os.kill(self.kernel_pid, signal.SIGINT)
        return {}

    def _restart(self, _: dict[str, Any]) -> dict[str, Any]:
        assert self._kernel is not None
        self._kernel.kill()
        self._kernel.wait()
        for left in (self.folder / "kernel").glob("k-*"):
            left.unlink()
        self.start_kernel()
        return {}

    def _notebook(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"name": "flights", "payload": self.payload, **self._saved()}

    def _save(self, frame: dict[str, Any]) -> dict[str, Any]:
        self.payload = frame["payload"]
        self.version += 1
        return self._saved()

    def _saved(self) -> dict[str, Any]:
        return {
            "modified_at": f"2026-01-01T00:00:{self.version:02d}+00:00",
            "version": self.version,
        }

    def _progress(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"running": None}

    def answer(self, frame: dict[str, Any], *, run: bool) -> None:
        """A held cell's."""
        self.tell(id=frame["id"], answer={"run": run})

    def cells(self, count: int) -> list[dict[str, Any]]:
        """The first cells asked for, once there are so many."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._cells()) >= count, timeout=60)
            assert enough, f"{len(self._cells())} cells asked for, not {count}"
            return self._cells()

    def _cells(self) -> list[dict[str, Any]]:
        return [frame for frame in self.asked if frame["ask"] == "cell"]

    def log(self) -> str:
        return (self.folder / "jupyter.log").read_text()


@contextmanager
def serving(folder: Path) -> Iterator[FakeAgent]:
    """An agent whose kernel and Jupyter process are up."""
    agent = FakeAgent(folder)
    try:
        agent.start_kernel()
        agent.launch()
        agent.serve()
        yield agent
    finally:
        agent.stop()


def until(what: Callable[[], Any], named: str, within_s: float = 90) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, f"not in {within_s} s: {named}"
        time.sleep(0.01)


def notebook(*cells: str) -> dict[str, Any]:
    """nbformat 4.5, as a page would send it."""
    return {
        "cells": [
            {
                "id": f"c{number}",
                "cell_type": "code",
                "source": source,
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def dumped(*cells: str) -> str:
    return json.dumps(notebook(*cells))


class Page:
    """What a page does, in either form of Jupyter's WebSocket protocol."""

    def __init__(self, agent: FakeAgent, *, binary: bool = True, session: str = "page-1") -> None:
        self.session = session
        self.binary = binary
        self.heard: list[dict[str, Any]] = []
        self._numbers = 0
        path = f"{BASE}api/kernels/{SESSION}/channels?session_id={session}"
        self._open = ExitStack()
        connecting = unix_connect(
            str(agent.folder / "jupyter" / "s"),
            uri=f"ws://localhost{path}",
            additional_headers={"Authorization": f"token {TOKEN}"},
            subprotocols=[Subprotocol(_BINARY)] if binary else None,
            max_size=None,
            open_timeout=60,
        )
        self._socket = self._open.enter_context(connecting)

    def send(self, kind: str, content: dict[str, Any], channel: str = "shell") -> str:
        """The message's id."""
        self._numbers += 1
        header = {
            "msg_id": f"{self.session}-{self._numbers}",
            "msg_type": kind,
            "session": self.session,
            "username": "",
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        if self.binary:
            parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
            self._socket.send(serialize_msg_to_ws_v1(parts, channel))
        else:
            whole = {
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": channel,
            }
            self._socket.send(json.dumps(whole))
        return str(header["msg_id"])

    def execute(self, code: str, **more: Any) -> str:
        content = {"code": code, "silent": False, "allow_stdin": True, "stop_on_error": True}
        return self.send("execute_request", content | more)

    def raw(self, frame: str | bytes) -> None:
        self._socket.send(frame)

    def hear(self) -> dict[str, Any]:
        """The next message: its channel, header, parent_header and content."""
        frame = self._socket.recv(timeout=60)
        if isinstance(frame, bytes):
            channel, parts = deserialize_msg_from_ws_v1(frame)
            header, parent, _, content = (json.loads(part) for part in parts[:4])
            message = {"channel": channel, "header": header, "parent_header": parent}
            message["content"] = content
        else:
            message = json.loads(frame)
        self.heard.append(message)
        return message

    def until(self, kind: str, parent: str | None = None) -> dict[str, Any]:
        """The first message of a kind, of those heard already or of those to come."""
        at = 0
        while True:
            while at < len(self.heard):
                message = self.heard[at]
                of = message["parent_header"].get("msg_id")
                if message["header"]["msg_type"] == kind and parent in (None, of):
                    return message
                at += 1
            self.hear()

    def until_state(self, state: str) -> None:
        """Hear until the kernel is in this state."""
        while not any(message["content"].get("execution_state") == state for message in self.heard):
            self.hear()

    def outcome(self, of: str) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """A cell's reply, and what was published of it until it was idle."""
        reply = self.until("execute_reply", of)["content"]
        while True:
            said = [
                (message["header"]["msg_type"], message["content"])
                for message in self.heard
                if message["channel"] == "iopub" and message["parent_header"].get("msg_id") == of
            ]
            if ("status", {"execution_state": "idle"}) in said:
                return reply, said
            self.hear()

    def close(self) -> None:
        self._open.close()

"""What a relay meets: a real Jupyter with a real kernel, behind a make-believe Athena and a line
that can be cut."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

from websockets.sync.client import connect

SESSION = "3f1c2b4a-0000-4000-8000-000000000001"
BASE = f"/notebooks/{SESSION}/"
TOKEN = "of-the-link"
#: How long anything may take before a test gives up.
PATIENT_S = 40.0


class Line:
    """Forwards TCP connections to a port, until they are cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self.broken = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.broken:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(a, b), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while some := source.recv(65536):
                target.sendall(some)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def close(self) -> None:
        # Wakes the thread that accepts, too.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


class Terminator:
    """Terminates TLS before a port, as an operator's proxy does."""

    def __init__(self, to: int, context: ssl.SSLContext) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(context,))
        self._thread.start()

    def _run(self, context: ssl.SSLContext) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(context))

    async def _serve(self, context: ssl.SSLContext) -> None:
        async with await asyncio.start_server(self._accept, sock=self._listener, ssl=context):
            await self._stop.wait()

    async def _accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(self._forward(near, to_far), self._forward(far, to_near))
        finally:
            for end in (to_near, to_far):
                end.transport.abort()

    @staticmethod
    async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await source.read(65536):
                target.write(some)
        target.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@dataclass
class Athena:
    """The few operations that a relay calls, with one session."""

    link: str
    state: str = "IDLE"
    reason: str = ""
    #: What StartSession is refused with: code and message.
    refusal: tuple[str, str] | None = None
    #: Operation and request of each call, in order.
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, request))
        if operation == "StartSession":
            if self.refusal is not None:
                raise Refusal(*self.refusal)
            return {"SessionId": SESSION, "State": "CREATING"}
        if operation == "GetSessionStatus":
            status = {"State": self.state, "StateChangeReason": self.reason}
            return {"SessionId": SESSION, "Status": status}
        if operation == "CreatePresignedNotebookUrl":
            if self.state not in {"IDLE", "BUSY"}:
                raise Refusal("InvalidRequestException", "The session is not active.")
            return {"NotebookUrl": self.link, "AuthToken": TOKEN, "AuthTokenExpirationTime": 1}
        assert operation == "TerminateSession"
        self.state = "TERMINATED"
        return {"State": "TERMINATED"}

    def count(self, operation: str) -> int:
        return sum(called == operation for called, _ in self.calls)


class Refusal(Exception):
    pass


@contextmanager
def served(athena: Athena) -> Iterator[str]:
    """The URL of a make-believe Athena."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, answer = 200, athena.answer(operation, json.loads(body))
            except Refusal as refusal:
                code, message = refusal.args
                status, answer = 400, {"__type": code, "message": message}
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Jupyter:
    """A Jupyter server with one kernel."""

    port: int

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{BASE}{path}",
            method=method,
            headers={"Authorization": f"token {TOKEN}"},
            data=b"" if method == "POST" else None,
        )
        with urllib.request.urlopen(request, timeout=PATIENT_S) as answer:
            return json.loads(answer.read() or "null")

    def kernel(self) -> dict[str, Any]:
        (found,) = self.ask("GET", "api/kernels")
        assert isinstance(found, dict)
        return found

    def visit(self) -> None:
        """Come and go, as somebody else than the relay."""
        address = f"ws://127.0.0.1:{self.port}{BASE}api/kernels/{self.kernel()['id']}/channels"
        headers = {"Authorization": f"token {TOKEN}"}
        with connect(f"{address}?session_id=other", additional_headers=headers) as socket:
            socket.recv(timeout=PATIENT_S)

    def link(self, port: int) -> str:
        """As CreatePresignedNotebookUrl's: redirects, with a cookie."""
        return f"http://127.0.0.1:{port}{BASE}login?token={TOKEN}&next={BASE}tree"


@contextmanager
def jupyter(folder: Path) -> Iterator[Jupyter]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={BASE}"),
        *(f"--IdentityProvider.token={TOKEN}", "--ServerApp.disable_check_xsrf=True"),
        *("--ip=127.0.0.1", f"--ServerApp.root_dir={folder}"),
        *("--ServerApp.jpserver_extensions={}",),
    ]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder), "JUPYTER_DATA_DIR": str(folder)}
    with (folder / "jupyter.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    made = Jupyter(port)
    try:
        within(lambda: _answers(made))
        made.ask("POST", "api/kernels")
        yield made
    finally:
        process.terminate()
        process.wait(20)


def _answers(made: Jupyter) -> bool:
    with suppress(URLError, ConnectionError):
        made.ask("GET", "api/status")
        return True
    return False


def within(look: Callable[[], Any], seconds: float = PATIENT_S) -> Any:
    """What a look finds, as soon as it is something."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "in vain"
        time.sleep(0.02)
    return found

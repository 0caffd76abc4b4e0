"""What stands in for a session's Jupyter server: a real server of tornado's on a real Unix socket,
in a folder whose path is longer than a socket's may be."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from sparkowl.agent.messages import taken_by_page
from sparkowl.launchers.base import JUPYTER_SOCKET


@dataclass
class Upstream:
    """What was asked, and how it answers."""

    folder: Path
    #: Method, path with query, headers, size of the body.
    asked: list[tuple[str, str, dict[str, str], int]] = field(default_factory=list)
    #: Headers of each WebSocket's handshake.
    joined: list[dict[str, str]] = field(default_factory=list)
    #: WebSockets that are open.
    connected: int = 0
    #: Close codes that came from the page.
    closed: list[int | None] = field(default_factory=list)
    #: How many messages each acknowledgement said that the page has.
    taken: list[int] = field(default_factory=list)
    #: Headers to answer with.
    answers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    body: bytes = b"<p>hello</p>"

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.asked]


class _Anything(RequestHandler):
    def initialize(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def prepare(self) -> None:
        """Whatever the method is."""
        told, request = self.upstream, self.request
        told.asked.append(
            (
                request.method or "",
                request.uri or "",
                {name.lower(): value for name, value in request.headers.items()},
                len(request.body),
            )
        )
        self.set_status(told.status)
        for name, value in told.answers.items():
            self.set_header(name, value)
        if request.path.endswith("large.js"):
            for _ in range(32):
                self.write(bytes(1 << 20))
                await self.flush()
            await self.finish()
            return
        if request.path.endswith("cut.js"):
            self.set_header("Content-Length", "1000")
            self.write(b"only this")
            await self.flush()
            self.detach().close()
            return
        await self.finish(None if told.status == 304 else told.body)


class _Socket(WebSocketHandler):
    def initialize(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def open(self, *_: str) -> None:
        headers = {name.lower(): value for name, value in self.request.headers.items()}
        self.upstream.connected += 1
        self.upstream.joined.append(headers | {":path": self.request.uri or ""})

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return subprotocols[-1] if subprotocols else None

    def check_origin(self, origin: str) -> bool:
        return False

    def on_close(self) -> None:
        self.upstream.closed.append(self.close_code)
        self.upstream.connected -= 1


class _Echo(_Socket):
    async def on_message(self, message: str | bytes) -> None:
        taken = taken_by_page(message)
        if taken is not None:
            self.upstream.taken.append(taken)
        elif message == "close":
            self.close(4321, "as you wish")
        elif message == "farewell":
            for word in ("one", "two", "three"):
                self.write_message(word)
            self.close(4321, "as you wish")
        elif message == "die":
            self.detach().close()
        else:
            await self.write_message(message, binary=isinstance(message, bytes))


class _Events(_Socket):
    """It speaks only, as Jupyter's: to hear anything is an error, which ends it."""

    def open(self, *segments: str) -> None:
        super().open(*segments)
        for event in "abc":
            self.write_message(event)


@contextmanager
def listening(folder: Path) -> Iterator[Upstream]:
    """A server at the socket of a folder, for the block."""
    upstream = Upstream(folder)
    ready = threading.Event()
    ends: list[Any] = []

    async def run() -> None:
        application = Application(
            [
                (r".*/channels", _Echo, {"upstream": upstream}),
                (r".*/subscribe", _Events, {"upstream": upstream}),
                (r".*", _Anything, {"upstream": upstream}),
            ],
            websocket_max_message_size=64 << 20,
        )
        server = HTTPServer(application, max_buffer_size=32 << 20)
        place = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"/proc/self/fd/{place}/{JUPYTER_SOCKET}")
        os.close(place)
        listener.listen(64)
        listener.setblocking(False)
        server.add_socket(listener)
        stop = asyncio.Event()
        ends.extend((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.stop()
        listener.close()
        await server.close_all_connections()
        (folder / JUPYTER_SOCKET).unlink()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="jupyter")
    thread.start()
    assert ready.wait(20)
    try:
        yield upstream
    finally:
        loop, stop = ends
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


def long_folder(under: Path) -> Path:
    folder = under / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 107
    return folder

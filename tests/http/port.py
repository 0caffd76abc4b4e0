"""A port with bounded connections and an application of the test's own; the test turns the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from sparkowl.http.bounds import Bounds
from sparkowl.http.connections import Connections


class App:
    """Answers what a path asks for, and remembers what it was told."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.entered = 0
        self.left = 0
        self.read = 0
        self.disconnected = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered += 1
        try:
            if scope["type"] == "websocket":
                await self._websocket(receive, send)
            elif scope["path"] == "/hold":
                await self.let_go.wait()
                await answer(send, b"held")
            elif scope["path"] == "/body":
                await self._body(receive)
                await answer(send, b"%d" % self.read)
            elif scope["path"] == "/large":
                await large(send)
            elif scope["path"] == "/block":
                await answer(send, bytes(16 << 20) + b".")
            else:
                await answer(send, b"hello")
        finally:
            self.left += 1

    async def _body(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
            self.read += len(message["body"])
            if not message["more_body"]:
                return

    async def _websocket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def large(send: Send, blocks: int = 64) -> None:
    """64 MiB: more than any socket buffers."""
    headers = [(b"content-length", b"%d" % (blocks << 20))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(blocks):
        body = bytes(1 << 20)
        await send({"type": "http.response.body", "body": body, "more_body": number + 1 < blocks})


@dataclass
class Port:
    app: App
    connections: Connections
    number: int
    #: The calls under way.
    calls: set[asyncio.Task[None]]
    clients: list[Client] = field(default_factory=list)

    async def connect(self, text: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number, limit=1 << 16)
        client = Client(reader, writer)
        self.clients.append(client)
        if text:
            client.send(text)
        return client

    def later(self, seconds: float) -> None:
        """The connections are looked at as if so much time had passed."""
        self.connections.look(self.connections.now() + seconds)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)

    async def answered(self) -> bytes:
        """The body of an answer of 200."""
        head = await self.head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await asyncio.wait_for(self.reader.readexactly(length), 20)

    async def rest(self) -> bytes:
        """All that comes until the connection ends; a reset is an end."""
        read = b""
        try:
            while more := await asyncio.wait_for(self.reader.read(1 << 16), 20):
                read += more
        except ConnectionError:
            return read
        return read


async def until(true: Callable[[], Any]) -> None:
    async def look() -> None:
        while not true():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), 20)


@asynccontextmanager
async def port(**bounds: Any) -> AsyncIterator[Port]:
    app = App()
    connections = Connections(Bounds(**bounds))
    http, websocket = connections.protocols()
    config = uvicorn.Config(app, http=http, ws=websocket, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: http(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    made = Port(app, connections, server.sockets[0].getsockname()[1], state.tasks)
    try:
        yield made
    finally:
        app.let_go.set()
        connections.abort()
        for client in made.clients:
            client.writer.close()
        server.close()
        await until(lambda: not state.tasks)
    assert app.entered == app.left

"""The drivers' door, where the other end goes at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.websockets import WebSocket

from sparkowl.http.drivers import _SocketChannel


def test_closing_a_link_whose_other_end_was_faster_is_no_error() -> None:
    sent: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.close":
            raise OSError("gone")

    async def close() -> None:
        socket = WebSocket({"type": "websocket"}, receive, send)
        await socket.accept()
        await _SocketChannel(socket).close()

    asyncio.run(close())

    assert sent == ["websocket.accept", "websocket.close"]

"""The drivers' door: a WebSocket on which an agent dials home."""

from __future__ import annotations

from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sparkowl.agent.messages import UNKNOWN_DRIVER
from sparkowl.supervisor.links import Links, UnknownDriver

PREFIX = "/_sparkowl/drivers/"
_SUFFIX = "/link"
_UNKNOWN = Response(status_code=403, headers={UNKNOWN_DRIVER: "1"})


class DriversDoor:
    """``/_sparkowl/drivers/<driver id>/link``, with the driver's token as bearer token."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        driver_id = scope["path"].removeprefix(PREFIX).removesuffix(_SUFFIX)
        token = socket.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            await self._links.authenticate(driver_id, token)
        except UnknownDriver:
            await socket.send_denial_response(_UNKNOWN)
            return
        await socket.accept()
        channel = _SocketChannel(socket)
        # The driver may have ended while we accepted; then there is nobody to serve.
        with suppress(UnknownDriver):
            await self._links.serve(driver_id, token, channel)
        await channel.close()


class _SocketChannel:
    """A WebSocket as a link's channel: closed is an end, not an error."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError, OSError):
                # The other end went while we spoke; receive() says so.
                return

    async def receive(self) -> str | None:
        try:
            return await self._socket.receive_text()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return None

    async def close(self) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close()
            except (WebSocketDisconnect, RuntimeError, OSError):
                # The other end was faster.
                return

"""A WebSocket between a page and its session's Jupyter server, both ways until one end closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from sparkowl.agent.messages import page_took

#: Why the door closes a socket: the visit is over. Jupyter's page does not try again after it.
GOING_AWAY: Final = 1001
#: What the page hears when its Jupyter server died: another comes, and the page is to try again.
_COME_AGAIN: Final = 1012
_ABNORMAL: Final = 1006
#: Codes that may not be sent: they say that none came (RFC 6455, 7.4.1).
_NEVER_SENT: Final = frozenset({1005, 1006, 1015})
#: The largest that a close frame's reason may be, in bytes.
_REASON: Final = 120


async def relay(
    page: WebSocket,
    upstream: ClientConnection,
    until: Callable[[], Awaitable[None]],
    *,
    acknowledge: bool,
) -> None:
    """Carry messages until one end closes, or ``until`` returns. Both ends are closed then.

    ``acknowledge``: upstream counts what the page has. Only a kernel's channels do; on Jupyter's
    other sockets a page says nothing at all.

    A message is read from one end once the other has taken the one before, so a slow reader slows
    the writer instead of filling the memory.
    """
    tasks = (
        asyncio.create_task(_to_upstream(page, upstream)),
        asyncio.create_task(_to_page(page, upstream, acknowledge=acknowledge)),
        asyncio.ensure_future(until()),
    )
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    to_upstream, to_page, over = tasks
    if to_upstream in done:
        code, reason = to_upstream.result()
    elif to_page in done:
        code, reason = to_page.result()
    else:
        over.result()
        code, reason = GOING_AWAY, "The session's notebook is closed."
    await _close_page(page, *_sendable(code, reason, instead=_COME_AGAIN))
    await upstream.close(*_sendable(code, reason, instead=GOING_AWAY))


async def _to_upstream(page: WebSocket, upstream: ClientConnection) -> tuple[int, str]:
    while True:
        message = await page.receive()
        if message["type"] == "websocket.disconnect":
            return message.get("code") or _ABNORMAL, message.get("reason") or ""
        text = message.get("text")
        try:
            await upstream.send(message["bytes"] if text is None else text)
        except ConnectionClosed as error:
            return _said(error)


async def _to_page(
    page: WebSocket, upstream: ClientConnection, *, acknowledge: bool
) -> tuple[int, str]:
    """Each message that is out of this process is acknowledged. What is still in it when it dies
    is not lost: the Jupyter server says the rest again to the page that comes back.
    """
    taken = 0
    while True:
        try:
            message = await upstream.recv()
        except ConnectionClosed as error:
            return _said(error)
        try:
            if isinstance(message, str):
                await page.send_text(message)
            else:
                await page.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return _ABNORMAL, ""
        taken += 1
        if acknowledge:
            with suppress(ConnectionClosed):  # there may be more that came before the end
                await upstream.send(page_took(taken))


def _said(error: ConnectionClosed) -> tuple[int, str]:
    frame = error.rcvd or error.sent
    return (_ABNORMAL, "") if frame is None else (frame.code, frame.reason)


def _sendable(code: int, reason: str, *, instead: int) -> tuple[int, str]:
    short = reason.encode()[:_REASON].decode(errors="ignore")
    return (instead, "") if code in _NEVER_SENT else (code, short)


async def _close_page(page: WebSocket, code: int, reason: str) -> None:
    connected = WebSocketState.CONNECTED
    if page.application_state is connected and page.client_state is connected:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await page.close(code, reason)

"""One connection: uvicorn's, which by itself would wait for ever.

Uvicorn with httptools knows no largest head, no time in which a request must come, and no pace.
Here a connection says what it is waiting for, and whether it breaks a bound. One that does costs
nobody else anything: no request has a thread while bytes are on their way.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sparkowl.http.bounds import LINGER_S, PIPELINED, UNWANTED_S, Pace
from sparkowl.http.busy import busy

if TYPE_CHECKING:
    from sparkowl.http.connections import Connections

_TOO_LARGE: Final = b"431 Request Header Fields Too Large"
_BAD: Final = b"400 Bad Request"


class Connection(HttpToolsProtocol):
    """One HTTP connection. Its class is made by :meth:`Connections.protocols`."""

    book: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending, self._coming = Pace(), Pace()
        self._received = 0
        #: Bytes since the last that belonged to a body, or ended a head.
        self._unseen = 0
        self._in_body = False
        self._trailers = 0
        #: By when a whole head must be there; None while a request is worked on.
        self._head_due: float | None = None
        #: When the connection ends in any case.
        self._ends_at: float | None = None
        #: It has nothing to do.
        self._resting = False
        self._refusal: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_due = self.book.now() + self.book.bounds.head_s
        taken = self.book.came(self)
        if taken is None:
            transport.abort()
        else:
            self.app = partial(_or_nothing, transport, self.app if taken else busy)

    def connection_lost(self, exc: Exception | None) -> None:
        self.book.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._head_due is None and not self._in_body and self._complete():
            self._ends_at, self._resting = None, False
            self._head_due = self.book.now() + self.book.bounds.head_s
        self._received += len(data)
        self._unseen += len(data)
        super().data_received(data)
        refused = self._refusal is not None or self.transport.is_closing()
        if self._unseen > self.book.bounds.head_bytes and not refused:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._trailers = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Uvicorn keeps a trailer's headers, too.
        if self._in_body:
            self._trailers += 1
            if self._trailers > self.book.bounds.headers:
                raise self._too_large()
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        bounds = self.book.bounds
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > bounds.head_bytes or len(self.headers) > bounds.headers:
            raise self._too_large()
        if len(self.pipeline) >= PIPELINED:
            raise ValueError("too many requests before the first was answered")
        self._unseen = 0
        self._head_due = None
        self._ends_at, self._resting = None, False
        self._in_body = True
        self._coming.rest()
        self.book.works(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unseen = 0
        self._in_body = False
        super().on_message_complete()
        if self._complete():
            self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            # Answered before the body had come. What is left of it is thrown away, for a while.
            self._ends_at = self.book.now() + UNWANTED_S
        elif self._complete():
            self._rest()

    def handle_websocket_upgrade(self) -> None:
        if not self._complete():
            # Its answer would have nowhere to go, and its task would wait for ever.
            self.send_400_response("A request is still under way.")
            return
        super().handle_websocket_upgrade()
        link = self.transport.get_protocol()
        if isinstance(link, Link):
            self.book.upgraded(self, link)
        else:
            self.book.left(self)

    def send_400_response(self, msg: str) -> None:
        if self._refusal is None:
            self._refuse(_BAD, msg)
        else:
            self._refuse(self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        """Uvicorn's own timer, which counts time in which the server is held up."""

    @property
    def unread(self) -> int:
        """Bytes of answers that wait for the other end to read."""
        return self.transport.get_write_buffer_size()

    def overdue(self, now: float) -> bool:
        """Whether it breaks a bound of time."""
        if self._resting and self.unread:
            # The last block of an answer takes its time; only its pace counts.
            self._ends_at = now + self.book.bounds.keep_alive_s
        if self._ends_at is not None and now >= self._ends_at:
            return True
        if self._head_due is not None and now >= self._head_due:
            return True
        return self._reads_too_slowly(now) or self._sends_too_slowly(now)

    def _reads_too_slowly(self, now: float) -> bool:
        unread = self.unread
        if not unread:
            self._sending.rest()
            return False
        # It falls while the other end reads, and rises when the server wrote more.
        return self._sending.too_slow(now, -unread, self.book.bounds)

    def _sends_too_slowly(self, now: float) -> bool:
        cycle = self.cycle
        held = cycle is None or cycle.waiting_for_100_continue or self.flow.read_paused
        if not self._in_body or held:
            self._coming.rest()
            return False
        return self._coming.too_slow(now, self._received, self.book.bounds)

    def _complete(self) -> bool:
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _rest(self) -> None:
        self._ends_at, self._resting = self.book.now() + self.book.bounds.keep_alive_s, True
        self.book.rests(self)

    def _too_large(self) -> ValueError:
        # The parser makes an error of its own of it, for which uvicorn would answer 400.
        self._refusal = _TOO_LARGE
        return ValueError("head too large")

    def _refuse(self, status: bytes, why: str = "") -> None:
        """Answer, and go on to read for a moment: closing at once would lose the answer."""
        self._refusal = status
        if not self._complete():
            if self.pipeline or self.cycle.response_started:
                # The refusal would stand in the middle of another answer.
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_refusal(status, why))
        self._ends_at, self._resting = self.book.now() + LINGER_S, False
        self._head_due = None
        if self.transport.can_write_eof():
            self.transport.write_eof()


class Link(WebSocketsSansIOProtocol):
    """One WebSocket: pings end it when it is dead, so only its leaving needs to be watched."""

    book: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending = Pace()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Each byte that the machine has not taken makes the next `send` wait.
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        self.book.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:
            # Uvicorn would wait for ever: what came first was the whole head, and it was no
            # handshake.
            self.transport.write(_refusal(_BAD))
            self.transport.close()

    async def send(self, message: Any) -> None:
        """Return when the machine has all of a message, so that it outlives this process."""
        await super().send(message)
        if message["type"] == "websocket.send":
            await self.writable.wait()
            if self.disconnected:
                raise ClientDisconnected
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # A refusal ends the handshake, too; uvicorn would log each as an error of the server.
            self.handshake_complete = True

    def overdue(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._sending.rest()
            return False
        return self._sending.too_slow(now, -unread, self.book.bounds)


def _refusal(status: bytes, why: str = "") -> bytes:
    text = (why or status.decode()[4:]).encode("ascii")
    return (
        b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: "
        b"%d\r\nconnection: close\r\n\r\n%b" % (len(text), text)
    )


async def _or_nothing(
    transport: asyncio.Transport, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer, or end the connection when the server's stop cuts the call short.

    Uvicorn would answer 500. Clients repeat their call after that, and it may have taken effect.
    """
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        transport.abort()
        raise

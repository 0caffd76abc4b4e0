"""Connections that are bounded: uvicorn's, which by itself would wait for ever.

Uvicorn with httptools knows no largest head, no time in which a request must come, no pace, and no
number of connections. Here each connection says what it is waiting for, and :class:`Connections`
looks at all of them a few times a minute: one loop instead of a timer for each. A connection that
breaks a bound costs nobody else anything: no request has a thread while bytes are on their way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sparkowl.http.bounds import LINGER_S, PIPELINED, UNWANTED_S, Bounds, Pace
from sparkowl.http.busy import busy

log = logging.getLogger(__name__)

_TOO_LARGE: Final = b"431 Request Header Fields Too Large"
_BAD: Final = b"400 Bad Request"


class Connections:
    """Every open connection of a port."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._open: set[Connection | Link] = set()
        #: Those without a request, the longest idle one first.
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._said_full = False

    def __len__(self) -> int:
        return len(self._open)

    def protocols(self) -> tuple[type[Connection], type[Link]]:
        """What uvicorn is to make of a connection, and of one that became a WebSocket."""
        book = self
        http = type("BoundConnection", (Connection,), {"book": book})
        websocket = type("BoundLink", (Link,), {"book": book})
        return http, websocket

    def came(self, connection: Connection) -> bool | None:
        """Take in a new connection: True; False if it can only be refused; None if not even that.

        Where there is no room, the one that has been idle for longest makes some.
        """
        limit = self.bounds.connections
        if len(self._open) >= limit:
            self._say_full()
            if self._idle:
                oldest, _ = self._idle.popitem(last=False)
                self._open.discard(oldest)
                oldest.transport.abort()
        if len(self._open) >= limit + self.bounds.refusable:
            return None
        self._open.add(connection)
        self._idle[connection] = None
        return len(self._open) <= limit

    def works(self, connection: Connection) -> None:
        """It has a request now."""
        self._idle.pop(connection, None)

    def rests(self, connection: Connection) -> None:
        """Its last request was answered."""
        if connection in self._open:
            self._idle[connection] = None

    def left(self, connection: Connection | Link) -> None:
        self._open.discard(connection)
        if isinstance(connection, Connection):
            self._idle.pop(connection, None)

    def upgraded(self, connection: Connection, link: Link) -> None:
        self.left(connection)
        if not link.transport.is_closing():
            self._open.add(link)

    async def watch(self) -> None:
        """Look after the connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.bounds.look_s)
            self.look(loop.time())

    def look(self, now: float) -> None:
        """Cut off whoever breaks a bound."""
        for connection in [one for one in self._open if one.overdue(now)]:
            # Not close(): that would wait until the other end has read what was sent.
            connection.transport.abort()
        if len(self._open) < self.bounds.connections:
            self._said_full = False

    def abort(self) -> None:
        """Cut off everybody: the server has ended."""
        for connection in list(self._open):
            connection.transport.abort()

    def _say_full(self) -> None:
        if not self._said_full:
            self._said_full = True
            log.warning("no room for more connections", extra={"open": len(self._open)})


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
        self._refusal: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_due = self.loop.time() + self.book.bounds.head_s
        taken = self.book.came(self)
        if taken is None:
            transport.abort()
        elif not taken:
            self.app = busy

    def connection_lost(self, exc: Exception | None) -> None:
        self.book.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._head_due is None and not self._in_body and self._complete():
            self._ends_at = None
            self._head_due = self.loop.time() + self.book.bounds.head_s
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
        if self._in_body:
            # Answered before the body had come. What is left of it is thrown away, for a while.
            self._ends_at = self.loop.time() + UNWANTED_S
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

    def overdue(self, now: float) -> bool:
        """Whether it breaks a bound of time."""
        if self._ends_at is not None and now >= self._ends_at:
            return True
        if self._head_due is not None and now >= self._head_due:
            return True
        return self._reads_too_slowly(now) or self._sends_too_slowly(now)

    def _reads_too_slowly(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
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
        # Uvicorn's own timer is not set again after a body that came later than the answer.
        self._ends_at = self.loop.time() + self.book.bounds.keep_alive_s + 1
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
        text = (why or status.decode()[4:]).encode("ascii")
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: "
            b"%d\r\nconnection: close\r\n\r\n%b" % (len(text), text)
        )
        self._ends_at = self.loop.time() + LINGER_S
        self._head_due = None
        if self.transport.can_write_eof():
            self.transport.write_eof()


class Link(WebSocketsSansIOProtocol):
    """One WebSocket: pings end it when it is dead, so only its leaving needs to be watched."""

    book: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending = Pace()

    def connection_lost(self, exc: Exception | None) -> None:
        self.book.left(self)
        super().connection_lost(exc)

    def overdue(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._sending.rest()
            return False
        return self._sending.too_slow(now, -unread, self.book.bounds)

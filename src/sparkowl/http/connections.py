"""All connections of a port: how many there may be, and who is cut off.

One loop looks at all of them once a second, instead of a timer for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from sparkowl.http.bounds import Bounds
from sparkowl.http.connection import Connection, Link

log = logging.getLogger(__name__)


class Connections:
    """Every open connection of a port."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._open: set[Connection | Link] = set()
        #: Those without a request, the longest idle one first.
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._said_full = False
        self._held_up_s = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def now(self) -> float:
        """Seconds, without those in which the server was held up: frozen, or out of breath.

        What came meanwhile waits in the sockets, and nobody is to be cut off for it.
        """
        return asyncio.get_running_loop().time() - self._held_up_s

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
            # Not one whose last answer is still on its way.
            oldest = next((one for one in self._idle if not one.unread), None)
            if oldest is not None:
                self.left(oldest)
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
        while True:
            due = self.now() + self.bounds.look_s
            await asyncio.sleep(self.bounds.look_s)
            self._held_up_s += max(self.now() - due, 0)
            self.look(self.now())

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

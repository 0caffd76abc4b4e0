"""The links to the drivers' agents: who is connected, and what is said.

A link is where facts come in and commands go out; what a fact means is :mod:`.facts`' business,
which command is due is the session's. Commands are repeated on every new connection and sent once
on each, so a link may break at any moment.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from sparkowl.agent import messages
from sparkowl.clock import Clock
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import DriverId, ServerId
from sparkowl.store import Store, drivers, servers

log = logging.getLogger(__name__)


class Channel(Protocol):
    """One connection. ``receive`` answers None once it is closed."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str | None: ...

    async def close(self) -> None: ...


class UnknownDriver(Exception):
    """No living driver of this id, or the token is not its own."""


#: Answers False when the driver is another server's by now, and nothing was taken.
TakeReport = Callable[[Driver, messages.Report], Awaitable[bool]]
HearChange = Callable[[DriverId], Awaitable[None]]


class Links:
    """The open links by driver."""

    def __init__(self, store: Store, clock: Clock, key: bytes, server: ServerId) -> None:
        self._store = store
        self._server = server
        self._clock = clock
        self._key = key
        self._take: TakeReport
        self._changed: HearChange
        self._open: dict[DriverId, _Link] = {}
        self._lost_at: dict[DriverId, datetime] = {}

    def listen(self, take: TakeReport, changed: HearChange) -> None:
        """Say who takes the reports, and who hears that a link came or went."""
        self._take = take
        self._changed = changed

    def token(self, driver_id: DriverId) -> str:
        """The driver's bearer token: derived, so that nothing secret is stored per driver."""
        return hmac.new(self._key, driver_id.encode(), hashlib.sha256).hexdigest()

    def jupyter_token(self, driver_id: DriverId) -> str:
        """What the Jupyter server beside the driver's kernel asks of whoever calls it: of us."""
        return hmac.new(self._key, f"jupyter:{driver_id}".encode(), hashlib.sha256).hexdigest()

    def linked(self, driver_id: DriverId) -> bool:
        return driver_id in self._open

    def silent_since(self, driver_id: DriverId) -> datetime | None:
        """When the link was lost; None while it is up or was never up."""
        return self._lost_at.get(driver_id)

    def sent_at(self, driver_id: DriverId, key: str) -> datetime | None:
        """When ``key`` was sent on the link that is up; None: it was not, or there is none."""
        link = self._open.get(driver_id)
        return None if link is None else link.sent.get(key)

    def expect(self, driver_id: DriverId) -> None:
        """A driver of an earlier server should dial; until then it counts as silent."""
        if driver_id not in self._open:
            self._lost_at[driver_id] = self._clock.now()

    def shift(self, by: timedelta, *, since: datetime, until: datetime) -> None:
        """Somebody set the clock: silence began by the old one, but where it began just now."""
        for driver_id, lost_at in self._lost_at.items():
            if not since <= lost_at <= until:
                self._lost_at[driver_id] = lost_at + by

    async def forget(self, driver_id: DriverId) -> None:
        """The driver has ended, or is another server's: what is left of its link is closed, and
        not missed."""
        self._lost_at.pop(driver_id, None)
        link = self._open.pop(driver_id, None)
        if link is not None:
            await link.channel.close()

    async def authenticate(self, driver_id: str, token: str) -> Driver:
        """The driver that may open a link with this token, or :class:`UnknownDriver`."""
        # The token first: strangers cost one HMAC, and no look into the database.
        expected = self.token(DriverId(driver_id))
        if not hmac.compare_digest(token.encode(), expected.encode()):
            raise UnknownDriver(driver_id)
        known = await self._store.read(lambda tx: drivers.get(tx, driver_id))
        if known is None or known.ended_at is not None:
            raise UnknownDriver(driver_id)
        return known

    async def serve(self, driver_id: str, token: str, channel: Channel) -> None:
        """Serve one connection until it closes. A newer one of the driver replaces it.

        The driver of another server is not welcomed: it looks again where to dial.
        """
        driver = await self.authenticate(driver_id, token)
        if await self._store.read(lambda tx: servers.owner_of(tx, driver)) != self._server:
            await channel.close()
            return
        link = _Link(channel)
        # At once: closing the older one may take long, and a still newer one may come meanwhile.
        older = self._open.get(driver.id)
        self._open[driver.id] = link
        self._lost_at.pop(driver.id, None)
        try:
            # First of all that is said on it.
            await channel.send(messages.encode(messages.Welcome()))
            if older is not None:
                await older.channel.close()
            log.info("driver linked", extra={"driver": driver.id, "session": driver.session_id})
            await self._changed(driver.id)
            await self._listen(driver, channel)
        finally:
            if self._open.get(driver.id) is link:
                del self._open[driver.id]
                self._lost_at[driver.id] = self._clock.now()
                log.info("driver's link lost", extra={"driver": driver.id})
                await self._changed(driver.id)

    async def _listen(self, driver: Driver, channel: Channel) -> None:
        while (text := await channel.receive()) is not None:
            try:
                message = messages.decode(text)
            except messages.MessageError:
                log.warning("driver sent no message", extra={"driver": driver.id})
                return
            if not isinstance(message, messages.Progress | messages.Fact):
                continue
            if not await self._take(driver, message):
                await channel.close()
                return
            if isinstance(message, messages.Fact):
                await channel.send(messages.encode(messages.Ack(seq=message.seq)))

    async def send_once(self, driver_id: DriverId, key: str, message: messages.Command) -> bool:
        """Send, unless ``key`` was sent on this connection; True when it was sent now."""
        link = self._open.get(driver_id)
        if link is None or key in link.sent:
            return False
        link.sent[key] = self._clock.now()
        await link.channel.send(messages.encode(message))
        return True


class _Link:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sent: dict[str, datetime] = {}

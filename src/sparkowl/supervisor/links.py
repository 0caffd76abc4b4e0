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
from datetime import datetime
from typing import Protocol

from sparkowl.agent import messages
from sparkowl.clock import Clock
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import DriverId
from sparkowl.store import Store, drivers

log = logging.getLogger(__name__)


class Channel(Protocol):
    """One connection. ``receive`` answers None once it is closed."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str | None: ...

    async def close(self) -> None: ...


class UnknownDriver(Exception):
    """No living driver of this id, or the token is not its own."""


TakeReport = Callable[[Driver, messages.Report], Awaitable[None]]
HearChange = Callable[[DriverId], Awaitable[None]]


class Links:
    """The open links by driver."""

    def __init__(self, store: Store, clock: Clock, key: bytes) -> None:
        self._store = store
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

    def linked(self, driver_id: DriverId) -> bool:
        return driver_id in self._open

    def silent_since(self, driver_id: DriverId) -> datetime | None:
        """When the link was lost; None while it is up or was never up."""
        return self._lost_at.get(driver_id)

    def expect(self, driver_id: DriverId) -> None:
        """A driver of an earlier server should dial; until then it counts as silent."""
        if driver_id not in self._open:
            self._lost_at[driver_id] = self._clock.now()

    async def forget(self, driver_id: DriverId) -> None:
        """The driver has ended: what is left of its link is closed, and not missed."""
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
        """Serve one connection until it closes. A newer one of the driver replaces it."""
        driver = await self.authenticate(driver_id, token)
        link = _Link(channel)
        older = self._open.get(driver.id)
        if older is not None:
            await older.channel.close()
        self._open[driver.id] = link
        self._lost_at.pop(driver.id, None)
        try:
            await channel.send(messages.encode(messages.Welcome()))
            await self._changed(driver.id)
            await self._listen(driver, channel)
        finally:
            if self._open.get(driver.id) is link:
                del self._open[driver.id]
                self._lost_at[driver.id] = self._clock.now()
                await self._changed(driver.id)

    async def _listen(self, driver: Driver, channel: Channel) -> None:
        while (text := await channel.receive()) is not None:
            try:
                message = messages.decode(text)
            except messages.MessageError:
                log.warning("driver sent no message", extra={"driver": driver.id})
                return
            if isinstance(message, messages.Progress):
                await self._take(driver, message)
            elif isinstance(message, messages.Fact):
                await self._take(driver, message)
                await channel.send(messages.encode(messages.Ack(seq=message.seq)))

    async def send_once(self, driver_id: DriverId, key: str, message: messages.Command) -> bool:
        """Send, unless ``key`` was sent on this connection; True when it was sent now."""
        link = self._open.get(driver_id)
        if link is None or key in link.sent:
            return False
        link.sent.add(key)
        await link.channel.send(messages.encode(message))
        return True


class _Link:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sent: set[str] = set()

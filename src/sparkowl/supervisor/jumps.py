"""Somebody sets the machine's clock: what was to last a while still lasts as long.

Times in rows are the clock's, since they must mean something after a restart. When the clock jumps
under a running server, those that decisions hang on are moved along, so that no session ends early
or stays longer for it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from sparkowl.store import servers
from sparkowl.supervisor.means import Means

log = logging.getLogger(__name__)

#: How often the clock is looked at when nothing else happens.
LOOK_S: Final = 1.0
#: A clock that is slowed down or hurried by the time service is no jump.
LEAST_S: Final = 2.0


class Jumps:
    """Compares the machine's clock with one that nobody can set."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._shifting = asyncio.Lock()
        self._wall = means.clock.now()
        self._steady = means.clock.monotonic()

    async def settled(self) -> datetime:
        """The current time, once the rows of this server agree with it."""
        now, jump = self._look()
        if jump is None:
            return now
        async with self._shifting:
            now, jump = self._look()
            if jump is not None:
                await self._shift(now, jump)
                return self._means.clock.now()
        return now

    def _look(self) -> tuple[datetime, timedelta | None]:
        now, steady = self._means.clock.now(), self._means.clock.monotonic()
        jump = now - self._wall - timedelta(seconds=steady - self._steady)
        if abs(jump) > timedelta(seconds=LEAST_S):
            return now, jump
        self._wall, self._steady = now, steady
        return now, None

    async def _shift(self, now: datetime, jump: timedelta) -> None:
        """What was written since the jump has the new time already; it is as young as our last
        look, at most."""
        means = self._means
        steady = means.clock.monotonic()
        since = now - timedelta(seconds=steady - self._steady)

        def write(tx: Connection) -> None:
            by = jump // timedelta(microseconds=1)
            servers.shift(tx, means.server, by, since=since, until=means.clock.now())

        await means.store.write(write)
        means.links.shift(jump, since=since, until=means.clock.now())
        self._wall, self._steady = now, steady
        seconds = round(jump.total_seconds(), 1)
        log.warning("the machine's clock was set", extra={"seconds": seconds})

"""The time: one clock for the server, and one that tests turn by hand."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol


class Clock(Protocol):
    """Where the server's sense of time comes from."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment. Unlike :meth:`now` it goes on when somebody sets the clock."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when ``event`` is set or ``seconds`` have passed (None: only when it is set)."""
        ...


class System:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class Manual:
    """A clock that stands still until :meth:`advance` turns it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._passed = 0.0
        self._order = count()
        self._due: list[tuple[float, int, asyncio.Timeout]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._passed

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as patience:
                if seconds is not None:
                    due = self._passed + max(seconds, 0)
                    heapq.heappush(self._due, (due, next(self._order), patience))
                    self.advance(0)
                await event.wait()

    def advance(self, seconds: float) -> None:
        """Turn the clock; those whose time has come stop waiting."""
        self._now += timedelta(seconds=seconds)
        self._passed += seconds
        while self._due and self._due[0][0] <= self._passed:
            _, _, patience = heapq.heappop(self._due)
            # One that stopped waiting before its time cannot be hurried any more.
            with suppress(RuntimeError):
                patience.reschedule(0)

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock; no time passes, and nobody's wait ends."""
        self._now += timedelta(seconds=seconds)

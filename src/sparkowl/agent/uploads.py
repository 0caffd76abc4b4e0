"""Outputs on their way into an S3 service.

Each calculation's are spooled as ever, and one task carries them: while the block runs, what it
said so far, so that it can be read; when it is over, all three objects, again and again with
growing pauses until the service has them. Nothing is deleted before. A service that is away is
waited for; one that refuses for good (no right, no bucket) is not.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

log = logging.getLogger(__name__)

NAMES: Final = ("stdout", "stderr", "result.json")
#: How often what the block said is looked at. Most blocks are shorter, and are put once.
LOOK_EVERY_S: Final = 3.0
#: Between two tries: twice as long each time, up to this, less a random part.
LONGEST_PAUSE_S: Final = 30.0
#: Somebody who cancelled, or the end of the driver, waits no longer than this for the service.
HURRY_S: Final = 2.0


class ServiceAway(Exception):
    """The service did not take it, and may later. The text says what it answered."""


class Refused(Exception):
    """The service does not take it, now or later. The text is a sentence without a full stop."""


#: Puts an object: ``s3://`` URI, content, encryption. Raises the two errors above.
Put = Callable[[str, bytes, Mapping[str, str]], Awaitable[None]]


class Time(Protocol):
    def monotonic(self) -> float: ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or after so many seconds."""
        ...


class MachineTime:
    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """How outputs are carried: the same for all calculations of a driver."""

    put: Put
    #: How long after the end of its block a calculation waits for the service.
    limit_s: float
    #: Called with a spool that has served.
    served: Callable[[Path], None]
    time: Time = field(default_factory=MachineTime)


class Upload:
    """One calculation's outputs; from the beginning of its block on."""

    def __init__(
        self, carrier: Carrier, spool: Path, uri: str, encryption: Mapping[str, str]
    ) -> None:
        self._carrier = carrier
        self._spool = spool
        self._uri = uri
        self._encryption = encryption
        #: What the service has of each file: its size and time when it was read.
        self._there: dict[str, tuple[int, int]] = {}
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._carry(), name=f"upload:{spool.name}")

    @property
    def done(self) -> bool:
        """Whether the service has all, or never will."""
        return self._task.done()

    def over(self) -> None:
        """The block has ended, and its spooled files are complete."""
        self._over.set()

    async def stored(self, hurry: asyncio.Event) -> str:
        """Wait until the service has all: why it will not, or nothing.

        With ``hurry`` set this waits a moment only, and says nothing: the task goes on, and what it
        does not get done stays in the spool.
        """
        hurried = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait({self._task, hurried}, return_when=asyncio.FIRST_COMPLETED)
            if not self._task.done():
                await self.parted()
        finally:
            hurried.cancel()
        return self._task.result() if self._task.done() else ""

    async def parted(self) -> None:
        """Give it a last moment."""
        await asyncio.wait({self._task}, timeout=HURRY_S)

    async def dropped(self) -> None:
        """Stop. What is in the spool stays there."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _carry(self) -> str:
        await self._follow()
        began = self._carrier.time.monotonic()
        failures = 0
        while True:
            try:
                await self._put_changed(NAMES)
            except Refused as refusal:
                return f"The calculation's output could not be stored: {refusal}."
            except ServiceAway as away:
                failures += 1
                waited = self._carrier.time.monotonic() - began
                if waited >= self._carrier.limit_s:
                    return (
                        "The calculation's output could not be stored within "
                        f"{self._carrier.limit_s / 3600:.3g} h: {away}."
                    )
                log.warning("%s: outputs not taken (%s), try %d", self._uri, away, failures)
                await self._carrier.time.wait(asyncio.Event(), _pause(failures))
            except OSError as error:  # the spool itself
                return f"The calculation's output could not be read again: {error.strerror}."
            else:
                self._carrier.served(self._spool)
                return ""

    async def _follow(self) -> None:
        """Put what the block says while it runs; what fails is put at the next look, or the end."""
        pause = LOOK_EVERY_S
        while not self._over.is_set():
            await self._carrier.time.wait(self._over, pause)
            if self._over.is_set():
                return
            try:
                await self._put_changed(NAMES)
                pause = LOOK_EVERY_S
            except (Refused, ServiceAway, OSError) as error:
                log.info("%s: outputs so far not taken: %s", self._uri, error)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _put_changed(self, names: tuple[str, ...]) -> None:
        async with asyncio.TaskGroup() as puts:
            tasks = [puts.create_task(self._tried(name)) for name in names]
        errors = [error for task in tasks if (error := task.result()) is not None]
        # What is refused for good is not worth waiting for the others.
        for error in sorted(errors, key=lambda error: not isinstance(error, Refused)):
            raise error

    async def _tried(self, name: str) -> Exception | None:
        path = self._spool / name
        try:
            found = path.stat()
            state = found.st_size, found.st_mtime_ns
            if self._there.get(name) != state:
                content = await asyncio.to_thread(path.read_bytes)
                await self._carrier.put(f"{self._uri}/{name}", content, self._encryption)
                self._there[name] = state
        except (Refused, ServiceAway, OSError) as error:
            return error
        return None


def _pause(failures: int) -> float:
    """Exponential, with jitter: many agents wait for one service."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311

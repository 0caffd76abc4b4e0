"""One worker per key, many keys at once.

- A key that is woken while its worker runs is looked at once more afterwards, never twice at once.
- A worker says how long its key may rest; it is woken earlier by :meth:`WorkQueue.wake`.
- A worker that fails is tried again, later each time.
- A key that needs no more work is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from sparkowl.clock import Clock
from sparkowl.domain.errors import Conflict

log = logging.getLogger(__name__)

#: The longest pause between two tries of a worker that fails.
MAX_BACKOFF_S: Final = 60.0


def backoff_s(failures: int) -> float:
    """The pause after so many failures in a row."""
    # The exponent is bounded, too: 2.0 ** 1024 is an error, a day into a lasting failure.
    return min(2.0 ** min(failures, 10), MAX_BACKOFF_S)


@dataclass(frozen=True, slots=True)
class Rest:
    """Look again after ``seconds``, or when woken."""

    seconds: float | None


class Done:
    """There is no more work for this key."""


#: What a worker answers.
Verdict = Rest | Done
Work = Callable[[str], Awaitable[Verdict]]


class WorkQueue:
    """The workers, as tasks of one group."""

    def __init__(self, clock: Clock, work: Work, urgent: Collection[str] = ()) -> None:
        """``urgent`` keys are tried again after a second, however often they failed."""
        self._urgent = urgent
        self._clock = clock
        self._work = work
        self._woken: dict[str, asyncio.Event] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._ending = False

    async def run(self) -> None:
        """Work until cancelled. Keys woken before are worked on now.

        Work that is under way is finished first: between an act and the row that tells of it
        nothing may be dropped.
        """
        cancelled = None
        async with asyncio.TaskGroup() as self._tasks:
            for key in self._woken:
                self._start(key)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                # Leaving the group by this error would cancel the workers in their middle.
                cancelled = error
                for woken in self._woken.values():
                    woken.set()
            finally:
                # Whatever ended it: a group that is closing takes no more work.
                self._ending = True
        self._tasks = None
        assert cancelled is not None
        raise cancelled

    def knows(self, key: str) -> bool:
        """Whether the key is being looked after."""
        return key in self._woken

    def wake(self, key: str) -> bool:
        """Look at the key soon; True when it was not being looked after yet."""
        woken = self._woken.get(key)
        if woken is not None:
            woken.set()
            return False
        self._woken[key] = asyncio.Event()
        if self._tasks is not None and not self._ending:
            self._start(key)
        return True

    def _start(self, key: str) -> None:
        assert self._tasks is not None
        # The work outlives the request that woke it, so it does not carry that request's id.
        self._tasks.create_task(self._keep(key), name=f"work:{key}", context=Context())

    async def _keep(self, key: str) -> None:
        woken = self._woken[key]
        failures = 0
        while not self._ending:
            woken.clear()
            try:
                verdict = await self._work(key)
                failures = 0
            except Conflict:
                verdict = Rest(0)
            except Exception:
                failures += 1
                verdict = Rest(backoff_s(0 if key in self._urgent else failures))
                log.exception("work failed", extra={"key": key, "failures": failures})
            if isinstance(verdict, Rest):
                await self._clock.wait(woken, verdict.seconds)
            elif not woken.is_set():
                del self._woken[key]
                return

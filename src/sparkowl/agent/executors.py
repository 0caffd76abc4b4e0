"""Which executors Spark has, beside the driver itself: seen in its status store, told when changed.

The driver is not told of: the server knows its own drivers better. On one machine Spark has no
others, so then nothing is told at all.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from sparkowl.agent.messages import Executor
from sparkowl.agent.outbox import Outbox
from sparkowl.agent.runner import Runner
from sparkowl.agent.spark import DRIVER, ExecutorSeen, SparkLine, SparkUnreachable

#: How often a look may be due; a look is a few round trips to the JVM for each executor...
_LOOK_EVERY_S: Final = 2.0
#: ...and so many seconds apart while nothing runs and workers live.
_IDLE_LOOK_EVERY_S: Final = 15.0
#: What Spark has forgotten while it lived had no reason to end that we know of.
_FORGOTTEN: Final = "Spark does not know it any more."
_REASON_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Told:
    """An executor as the server knows it: under a name that is its own for the driver's life."""

    name: str
    seen: ExecutorSeen


class Roster:
    """The executors that were seen so far. Spark numbers them anew in each SparkContext."""

    def __init__(self) -> None:
        #: Spark's id of the running context; empty: there is none.
        self.application = ""
        #: How many contexts there were: user code may stop one and make the next.
        self._contexts = 0
        self._told: dict[str, Told] = {}

    @property
    def ended(self) -> Collection[str]:
        """Spark's ids of those whose end is known: nothing about them changes any more."""
        return {spark_id for spark_id, told in self._told.items() if told.seen.ended_at}

    @property
    def live(self) -> int:
        return len(self._told) - len(self.ended)

    def take(self, application: str, seen: Sequence[ExecutorSeen], now: float) -> list[Told]:
        """What is new since the last look, ends first. ``seen`` may lack the :attr:`ended` ones."""
        news: list[Told] = []
        if application != self.application:
            news += self._forget(self._told, now)
            self.application, self._told = application, {}
            self._contexts += bool(application)
        here = {executor.id for executor in seen}
        lost = {spark_id: told for spark_id, told in self._told.items() if spark_id not in here}
        news += self._forget(lost, now)
        for executor in seen:
            known = self._told.get(executor.id)
            if executor.id != DRIVER and (known is None or known.seen != executor):
                name = executor.id if self._contexts == 1 else f"{executor.id}.{self._contexts}"
                self._told[executor.id] = Told(name, executor)
                news.append(self._told[executor.id])
        return news

    def _forget(self, gone: Mapping[str, Told], now: float) -> list[Told]:
        ends = {
            spark_id: Told(told.name, replace(told.seen, ended_at=now, reason=_FORGOTTEN))
            for spark_id, told in gone.items()
            if not told.seen.ended_at
        }
        self._told |= ends
        return list(ends.values())


class ExecutorWatch:
    """Looks while a calculation runs and after it.

    An idle driver without workers is left alone. So is a driver on ``local[...]``, which has none,
    until a block runs so long that the line to Spark is in use anyway: the block may have made a
    SparkContext somewhere else.
    """

    def __init__(
        self, spark: SparkLine, outbox: Outbox, runner: Runner, master: str, roster: Roster
    ) -> None:
        """``roster`` outlives the watch: after a restart its executors have names of their own."""
        self._spark = spark
        self._outbox = outbox
        self._runner = runner
        self._on_cluster = re.match(r"local(\[|$)", master) is None
        self._roster = roster
        #: Blocks that had ended at the last look; none was made yet.
        self._ended = -1

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._until_due()
            self._ended = self._runner.ended
            await self._look()

    async def _until_due(self) -> None:
        waited = 0.0
        while True:
            ended = self._runner.ended
            await asyncio.sleep(_LOOK_EVERY_S)
            waited += _LOOK_EVERY_S
            if self._runner.busy and self._runner.ended == ended:
                return
            if self._on_cluster and (self._runner.busy or self._runner.ended != self._ended):
                return
            # Spark gives back what nobody uses, and loses what dies, at any time.
            if self._roster.live and waited >= _IDLE_LOOK_EVERY_S:
                return

    async def _look(self) -> None:
        with suppress(SparkUnreachable):  # then there is nothing to tell
            roster = self._roster
            application, seen = await self._spark.executors(roster.application, roster.ended)
            report(self._outbox, roster.take(application, seen, time.time()))


def report(outbox: Outbox, news: Iterable[Told]) -> None:
    for told in news:
        outbox.put(
            Executor,
            executor_id=told.name,
            cores=told.seen.cores,
            started_at=told.seen.started_at,
            ended_at=told.seen.ended_at,
            reason=told.seen.reason[:_REASON_LIMIT],
        )

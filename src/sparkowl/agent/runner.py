"""Calculations, one at a time: run the block, keep what it says, stop it when asked, report.

Each calculation that was taken ends with exactly one ``Ended`` fact, whose three output files are
complete by then; also when the kernel dies in the middle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.channel import Channel
from sparkowl.agent.driver import Driver
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Ended, Outcome, Progress, Run, Started
from sparkowl.agent.outbox import Outbox
from sparkowl.agent.outputs import Outputs
from sparkowl.agent.spark import SparkLine, SparkUnreachable, Stages

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
#: Most blocks that somebody waits for are shorter, and are told of in one message instead of two.
_START_REPORT_AFTER_S: Final = 0.02
#: First the Python code is interrupted, then Spark's jobs: the other way round the block would
#: see its job fail, and might go on with the next one.
_JOBS_AFTER_S: Final = 0.3
_GROUP_AFTER_S: Final = 10.0
_KILL_AFTER_S: Final = 20.0
#: How long Spark may take to let go of its jobs after the block has ended. Not for ever: a thread
#: of the user may sit in a call for good reasons (a stream's ``awaitTermination``).
_JOBS_GONE_WITHIN_S: Final = 3.0
_REASON_LIMIT: Final = 500


class Runner:
    def __init__(  # noqa: PLR0913 - each is a neighbour of its own
        self,
        *,
        channel: Channel,
        driver: Driver,
        spark: SparkLine,
        outbox: Outbox,
        leftovers: Leftovers,
        tell: Callable[[Progress], None],
        spool: Path,
        limit_bytes: int,
    ) -> None:
        self._channel = channel
        self._driver = driver
        self._spark = spark
        self._outbox = outbox
        self._leftovers = leftovers
        self._tell = tell
        self._spool = spool
        self._limit_bytes = limit_bytes
        self._seen: set[str] = set()
        self._waiting: asyncio.Queue[Run] = asyncio.Queue()
        self._cancelled: set[str] = set()
        self._current: _Calculation | None = None
        #: How many blocks have ended...
        self.ended = 0
        #: ...and when the last one did, by the monotonic clock; 0: none has.
        self.last_end = 0.0

    @property
    def busy(self) -> bool:
        return self._current is not None or not self._waiting.empty()

    def take(self, run: Run) -> None:
        """Accept a calculation. One that was seen before is not run again."""
        if run.calculation_id not in self._seen:
            self._seen.add(run.calculation_id)
            self._waiting.put_nowait(run)

    def cancel(self, calculation_id: str) -> None:
        """Stop a calculation: the running one, or one that waits or has yet to come.

        The server may cancel before it hands a block over. An ended one: no effect.
        """
        current = self._current
        if current is not None and current.run.calculation_id == calculation_id:
            current.cancel_asked.set()
        else:
            self._cancelled.add(calculation_id)

    async def work(self) -> None:
        """Run what is accepted, until cancelled."""
        while True:
            run = await self._waiting.get()
            outputs = Outputs(
                self._spool / run.calculation_id, Path(run.output_dir), self._limit_bytes
            )
            self._current = _Calculation(run, outputs)
            if run.calculation_id in self._cancelled:
                self._end(self._current, "canceled", "")
            else:
                await self._run(self._current)

    def abort(self, outcome: Outcome, reason: str) -> None:
        """The driver is going: end what runs and what waits, with what is there of its outputs."""
        if self._current is not None and self._current.cancel_asked.is_set():
            # It held out until the kernel was killed: for its caller it was stopped all the same.
            self._end(self._current, "canceled", "")
        elif self._current is not None:
            self._end(self._current, outcome, reason)
        while not self._waiting.empty():
            run = self._waiting.get_nowait()
            outputs = Outputs(
                self._spool / run.calculation_id, Path(run.output_dir), self._limit_bytes
            )
            self._end(_Calculation(run, outputs), outcome, reason)

    async def _run(self, calculation: _Calculation) -> None:
        helpers = [
            asyncio.create_task(self._watch_progress(calculation), name="progress"),
            asyncio.create_task(self._cancel_when_asked(calculation), name="cancel"),
        ]
        try:
            await self._spark_mounts(calculation)
            reply = await self._channel.execute(
                calculation.run.code, lambda kind, content: self._hear(calculation, kind, content)
            )
        finally:
            for helper in helpers:
                helper.cancel()
        if calculation.cancel_asked.is_set():
            await self._until_no_job_is_left()
            self._end(calculation, "canceled", "")
        else:
            self._end(calculation, *_outcome(calculation.error or reply))

    async def _spark_mounts(self, calculation: _Calculation) -> None:
        with suppress(SparkUnreachable):  # then the block will say so itself
            await self._spark.mount(calculation.run.buckets)

    def _end(self, calculation: _Calculation, outcome: Outcome, reason: str) -> None:
        log.info("calculation %s: block over", calculation.run.calculation_id)
        calculation.outputs.close()
        log.info("calculation %s: outputs in place", calculation.run.calculation_id)
        if not calculation.outputs.trouble:
            # What the links point to stays; the spool would only double it.
            self._leftovers.remove(self._spool / calculation.run.calculation_id)
        elif outcome != "canceled":
            own = f"{reason.rstrip('.')}. " if outcome == "failed" and reason else ""
            outcome, reason = "failed", own + calculation.outputs.trouble
        self._current = None
        self.ended += 1
        self.last_end = time.monotonic()
        if calculation.report_start is not None:
            calculation.report_start.cancel()
        self._outbox.put(
            Ended,
            calculation_id=calculation.run.calculation_id,
            outcome=outcome,
            reason=reason,
            at=time.time(),
            began_at=calculation.began_at,
        )

    def _hear(self, calculation: _Calculation, kind: str, content: dict[str, Any]) -> None:
        outputs = calculation.outputs
        match kind:
            case "stream":
                outputs.text(content["name"], content["text"])
            case "execute_result" | "display_data" | "update_display_data":
                outputs.display(kind, content)
            case "error":
                # The reply says the same, but for an error whose own text cannot be made.
                calculation.error = {"status": "error"} | content
                outputs.error(content)
            case "clear_output":
                outputs.clear(wait=bool(content.get("wait")))
            case "status" if content["execution_state"] == "busy":
                self._began(calculation)

    def _began(self, calculation: _Calculation) -> None:
        """Report the start, unless the end follows at once and brings it along."""
        calculation.began_at = time.time()
        calculation.report_start = asyncio.get_running_loop().call_later(
            _START_REPORT_AFTER_S,
            lambda: self._outbox.put(
                Started,
                calculation_id=calculation.run.calculation_id,
                at=calculation.began_at,
            ),
        )

    async def _watch_progress(self, calculation: _Calculation) -> None:
        stages = Stages()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            calculation.outputs.refresh()
            with suppress(SparkUnreachable):
                percent = stages.take(await self._spark.active_stages())
                self._tell(Progress(calculation_id=calculation.run.calculation_id, percent=percent))

    async def _cancel_when_asked(self, calculation: _Calculation) -> None:
        """Ask ever louder; ended by the end of the block."""
        await calculation.cancel_asked.wait()
        began = time.monotonic()
        while (asked_for := time.monotonic() - began) < _KILL_AFTER_S:
            # The group as well, later: a shell that the block runs may hold the interrupt back.
            self._driver.interrupt(everyone=asked_for > _GROUP_AFTER_S)
            await asyncio.sleep(_JOBS_AFTER_S)
            with suppress(SparkUnreachable, TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._spark.cancel_all_jobs()
            await asyncio.sleep(_LOOK_EVERY_S - _JOBS_AFTER_S)
        seconds = int(_KILL_AFTER_S)
        self._driver.give_up(
            f"A block did not stop within {seconds} s, so its Python kernel was killed.", "USER"
        )

    async def _until_no_job_is_left(self) -> None:
        """A job that runs on would slow the next block, and may still write."""
        with suppress(SparkUnreachable, TimeoutError):
            async with asyncio.timeout(_JOBS_GONE_WITHIN_S):
                while await self._spark.at_work():
                    await self._spark.cancel_all_jobs()
                    await asyncio.sleep(0.05)


class _Calculation:
    """The one that runs."""

    def __init__(self, run: Run, outputs: Outputs) -> None:
        self.run = run
        self.outputs = outputs
        self.cancel_asked = asyncio.Event()
        self.error: dict[str, Any] | None = None
        self.began_at = 0.0
        self.report_start: asyncio.TimerHandle | None = None


def _outcome(reply: dict[str, Any]) -> tuple[Outcome, str]:
    if reply["status"] == "ok":
        return "completed", ""
    first_line = str(reply.get("evalue", "")).strip().split("\n")[0]
    name = reply.get("ename", reply["status"])
    return "failed", (f"{name}: {first_line}" if first_line else str(name))[:_REASON_LIMIT]

"""Calculations, one at a time: run the block, keep what it says, stop it when asked, report.

Each calculation that was taken ends with exactly one ``Ended`` fact, whose three output files are
complete by then; also when the kernel dies in the middle.

A calculation may be a cell of the page. Then the page runs it, by a message of its own, as soon as
it is let through, and here is only listened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.calculation import KILL_AFTER_S, Calculation, outcome_of
from sparkowl.agent.cells import Cells, WaitingCell
from sparkowl.agent.channel import Channel
from sparkowl.agent.driver import Driver
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Ended, Outcome, Progress, Run, Started
from sparkowl.agent.outbox import Outbox
from sparkowl.agent.outputs import Outputs
from sparkowl.agent.spark import SparkLine, SparkUnreachable
from sparkowl.agent.uploads import Carrier, Upload

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
#: Most blocks that somebody waits for are shorter, and are told of in one message instead of two.
_START_REPORT_AFTER_S: Final = 0.02
#: First the Python code is interrupted, then Spark's jobs: the other way round the block would
#: see its job fail, and might go on with the next one.
_JOBS_AFTER_S: Final = 0.3
_GROUP_AFTER_S: Final = 10.0
#: How long Spark may take to let go of its jobs after the block has ended. Not for ever: a thread
#: of the user may sit in a call for good reasons (a stream's ``awaitTermination``).
_JOBS_GONE_WITHIN_S: Final = 3.0
#: A JVM that was killed hangs up on the block before its end can be seen, which comes with that of
#: its last thread.
_LOSS_SEEN_WITHIN_S: Final = 5.0
_OK: Final = {"status": "ok"}
_NEVER_SENT: Final = "The notebook's page went away before it ran the cell."


@dataclass(frozen=True, slots=True)
class Engine:
    """What calculations run on; another one after a restart."""

    channel: Channel
    driver: Driver
    spark: SparkLine


class Runner:
    def __init__(  # noqa: PLR0913 - all by name, and each a different thing
        self,
        *,
        cells: Cells,
        outbox: Outbox,
        leftovers: Leftovers,
        tell: Callable[[Progress], None],
        spool: Path,
        limit_bytes: int,
        carrier: Carrier,
    ) -> None:
        self._cells = cells
        self._outbox = outbox
        self._leftovers = leftovers
        self._tell = tell
        self._spool = spool
        self._limit_bytes = limit_bytes
        self._carrier = carrier
        #: Those that may be under way still, though their calculations have ended.
        self._uploads: list[Upload] = []
        self._seen: set[str] = set()
        self._waiting: asyncio.Queue[Run] = asyncio.Queue()
        #: Those that shall not run, with what is said of it in their end.
        self._cancelled: dict[str, str] = {}
        self._current: Calculation | None = None
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

    def cancel(self, calculation_id: str, refusal: str = "") -> None:
        """Stop a calculation: the running one, or one that waits or has yet to come.

        The server may cancel before it hands a block over. An ended one: no effect. ``refusal`` is
        what the page is told where the server does not let its cell run.
        """
        current = self._current
        if current is not None and current.run.calculation_id == calculation_id:
            current.stop(for_good=True)
        else:
            self._cancelled[calculation_id] = ""
            self._refuse(lambda cell: cell.calculation_id == calculation_id, told=refusal)

    def interrupt(self) -> bool:
        """Stop what runs, as the page asks for it, and with it the cells that wait; False: nothing
        runs.

        However long it holds out, its session is not ended for it: whoever sits at the page may
        still wait, or restart.
        """
        self._refuse(lambda _cell: True)
        if self._current is None:
            return False
        self._current.stop(for_good=False)
        return True

    def page_closed(self) -> None:
        """Nobody is left to run the cells that wait."""
        self._refuse(lambda _cell: True, _NEVER_SENT)

    def _refuse(
        self, which: Callable[[WaitingCell], bool], reason: str = "", told: str = ""
    ) -> None:
        for calculation_id in self._cells.refuse(which, told):
            # Ended by its Run, which brings along where its outputs belong.
            self._cancelled[calculation_id] = reason

    @property
    def running(self) -> Calculation | None:
        """The calculation that is the kernel's now."""
        return self._current

    async def work(self, engine: Engine) -> None:
        """Run on this engine what is accepted, until cancelled."""
        while True:
            run = await self._waiting.get()
            self._current = self._begin(run)
            if run.calculation_id in self._cancelled:
                self._current.cancel_asked.set()
                await self._end(self._current, "canceled", self._cancelled[run.calculation_id])
            else:
                await self._run(self._current, engine)

    def _begin(self, run: Run) -> Calculation:
        spool = self._spool / run.calculation_id
        folder = Path(run.output_dir) if run.output_dir else None
        outputs = Outputs(spool, folder, self._limit_bytes)
        upload = None
        if folder is None:
            upload = Upload(self._carrier, spool, run.output_uri, run.encryption)
            self._uploads = [one for one in self._uploads if not one.done] + [upload]
        return Calculation(run, outputs, upload, self._cells.take(run.calculation_id))

    async def abort(self, outcome: Outcome, reason: str) -> None:
        """The engine is going: end what runs and what waits, with what is there of its outputs."""
        ending = []
        if self._current is not None:
            # It held out until the kernel was killed: for its caller it was stopped all the same.
            stopped = self._current.cancel_asked.is_set()
            self._current.close("canceled" if stopped else outcome, "" if stopped else reason)
            ending.append(self._current)
        while not self._waiting.empty():
            waiting = self._begin(self._waiting.get_nowait())
            waiting.close(outcome, reason)
            ending.append(waiting)
        await self._part([one.upload for one in ending if one.upload is not None])
        for calculation in ending:
            # What a service did not take in this moment is in the spool.
            self._report(calculation, *calculation.ended(calculation.outputs.trouble))
        self._refuse(lambda _cell: True, reason if outcome == "canceled" else "")

    async def close(self) -> None:
        """The driver ends: what is not uploaded by now is left to the server."""
        await self._part(self._uploads)
        for upload in self._uploads:
            await upload.dropped()

    async def _part(self, uploads: Sequence[Upload]) -> None:
        await asyncio.gather(*(upload.parted() for upload in uploads))

    async def _run(self, calculation: Calculation, engine: Engine) -> None:
        helpers = [
            asyncio.create_task(self._watch_progress(calculation, engine.spark), name="progress"),
            asyncio.create_task(self._cancel_when_asked(calculation, engine), name="cancel"),
        ]
        try:
            with suppress(SparkUnreachable):  # then the block will say so itself
                await engine.spark.mount(calculation.run.buckets)
            reply = await self._executed(calculation, engine.channel)
        finally:
            for helper in helpers:
                helper.cancel()
        if reply is None:
            await self._end(calculation, "canceled", _NEVER_SENT)
        elif calculation.cancel_asked.is_set():
            await _until_no_job_is_left(engine.spark)
            await self._end(calculation, "canceled", "")
        else:
            outcome, reason = outcome_of(calculation.error or reply)
            if outcome == "failed":
                await self._failed(calculation, engine)
            await self._end(calculation, outcome, reason)

    async def _failed(self, calculation: Calculation, engine: Engine) -> None:
        if not await engine.spark.answers():
            # The block's own complaint is the consequence. With the loss this is cancelled.
            await asyncio.sleep(_LOSS_SEEN_WITHIN_S)
        cell = calculation.cell
        if cell is not None and cell.stop_on_error:
            self._refuse(lambda other: other.client == cell.client)

    async def _executed(self, calculation: Calculation, channel: Channel) -> dict[str, Any] | None:
        """The kernel's reply when it is done with the block; None: the page did not send it."""

        def hear(kind: str, content: dict[str, Any]) -> None:
            self._hear(calculation, kind, content)

        cell = calculation.cell
        if cell is None:
            return await channel.execute(calculation.run.code, hear)
        came = await channel.overhear(cell.msg_id, hear, send=lambda: cell.tell(run=True))
        return dict(_OK) if came else None

    async def _end(self, calculation: Calculation, outcome: Outcome, reason: str) -> None:
        log.info("calculation %s: block over", calculation.run.calculation_id)
        calculation.close(outcome, reason)
        trouble = calculation.outputs.trouble
        if calculation.upload is not None:
            # The first trouble is the cause: of what no disk took nothing can be read again.
            why_not = await calculation.upload.stored(calculation.cancel_asked)
            trouble = trouble or why_not
        log.info("calculation %s: outputs in place", calculation.run.calculation_id)
        self._report(calculation, *calculation.ended(trouble))

    def _report(self, calculation: Calculation, outcome: Outcome, reason: str) -> None:
        if calculation.upload is None and not calculation.outputs.trouble:
            # What the links point to stays; the spool would only double it.
            self._leftovers.remove(self._spool / calculation.run.calculation_id)
        if calculation.cell is not None:
            calculation.cell.tell(run=False)  # where it was not let through
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

    def _hear(self, calculation: Calculation, kind: str, content: dict[str, Any]) -> None:
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

    def _began(self, calculation: Calculation) -> None:
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

    async def _watch_progress(self, calculation: Calculation, spark: SparkLine) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            calculation.outputs.refresh()
            with suppress(SparkUnreachable):
                percent = calculation.stages.take(await spark.active_stages())
                self._tell(Progress(calculation_id=calculation.run.calculation_id, percent=percent))

    async def _cancel_when_asked(self, calculation: Calculation, engine: Engine) -> None:
        """Ask ever louder; ended by the end of the block."""
        await calculation.cancel_asked.wait()
        began = time.monotonic()
        while calculation.may_hold_out:
            # The group as well, later: a shell that the block runs may hold it back.
            engine.driver.interrupt(everyone=time.monotonic() - began > _GROUP_AFTER_S)
            await asyncio.sleep(_JOBS_AFTER_S)
            with suppress(SparkUnreachable, TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await engine.spark.cancel_all_jobs()
            await asyncio.sleep(_LOOK_EVERY_S - _JOBS_AFTER_S)
        seconds = int(KILL_AFTER_S)
        engine.driver.give_up(
            f"A block did not stop within {seconds} s, so its Python kernel was killed.", "USER"
        )


async def _until_no_job_is_left(spark: SparkLine) -> None:
    """A job that runs on would slow the next block, and may still write."""
    with suppress(SparkUnreachable, TimeoutError):
        async with asyncio.timeout(_JOBS_GONE_WITHIN_S):
            while await spark.at_work():
                await spark.cancel_all_jobs()
                await asyncio.sleep(0.05)

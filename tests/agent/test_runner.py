"""Calculations whose outputs go into a service: when they end, and as what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from tests.agent.test_uploads import MakeBelieveService, RestingClock, until

from sparkowl.agent.cells import Cells
from sparkowl.agent.channel import Channel
from sparkowl.agent.driver import Driver
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Ended, Run
from sparkowl.agent.outbox import Outbox
from sparkowl.agent.runner import Engine, Runner
from sparkowl.agent.spark import SparkLine, StageSeen
from sparkowl.agent.uploads import LONGEST_PAUSE_S, Carrier, Refused, ServiceAway

AWAY = ServiceAway("the S3 service does not answer")


class Kernel:
    """Prints a block's own text when the test lets it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.busy = False

    async def execute(
        self, code: str, hear: Callable[[str, dict[str, Any]], None]
    ) -> dict[str, Any]:
        self.busy = True
        hear("status", {"execution_state": "busy"})
        hear("stream", {"name": "stdout", "text": code})
        await self.go.wait()
        return {"status": "ok"}


class Spark:
    """Without jobs."""

    async def mount(self, buckets: object) -> None:
        assert buckets == {}

    async def active_stages(self) -> dict[int, StageSeen]:
        return {}


class Scene:
    def __init__(self, folder: Path) -> None:
        (folder / "spool").mkdir()
        (folder / "outbox").mkdir()
        self.spool = folder / "spool" / "c"
        self.service = MakeBelieveService()
        self.clock = RestingClock()
        self.kernel = Kernel()
        leftovers = Leftovers()
        self.outbox = Outbox(folder / "outbox", leftovers)
        self.runner = Runner(
            cells=Cells(self.outbox),
            outbox=self.outbox,
            leftovers=leftovers,
            tell=lambda _progress: None,
            spool=folder / "spool",
            limit_bytes=1000,
            carrier=Carrier(
                put=self.service.put, limit_s=3600, served=leftovers.remove, time=self.clock
            ),
        )
        engine = Engine(cast(Channel, self.kernel), cast(Driver, None), cast(SparkLine, Spark()))
        self.work = asyncio.create_task(self.runner.work(engine))

    async def __aenter__(self) -> Self:
        self.runner.take(
            Run(
                calculation_id="c",
                code="said",
                output_dir="",
                buckets={},
                output_uri="s3://results/c",
            )
        )
        await until(lambda: self.kernel.busy)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.lost()
        await self.runner.close()

    async def lost(self) -> None:
        """What the agent does first when its driver is lost, or it shall stop."""
        self.work.cancel()
        await asyncio.gather(self.work, return_exceptions=True)

    async def waits(self) -> None:
        """The block is over, and the service was asked in vain."""
        self.kernel.go.set()
        await until(lambda: self.service.asked >= 3 and self.clock.resting > 0)

    @property
    def ended(self) -> Ended | None:
        found = [fact for fact in self.outbox.after(0) if isinstance(fact, Ended)]
        assert len(found) <= 1
        return found[0] if found else None

    async def end(self) -> Ended:
        await until(lambda: self.ended is not None)
        assert self.ended is not None
        return self.ended


async def test_a_calculation_ends_once_the_service_has_its_outputs(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        scene.service.trouble = AWAY
        await scene.waits()
        assert scene.ended is None
        assert scene.runner.busy

        scene.service.trouble = None
        scene.clock.advance(LONGEST_PAUSE_S)

        assert (await scene.end()).outcome == "completed"
        assert scene.service.objects["s3://results/c/stdout"] == b"said"
        assert not scene.runner.busy
        assert not scene.spool.exists()


async def test_one_that_is_cancelled_while_its_outputs_wait_is_canceled_and_keeps_them(
    tmp_path: Path,
) -> None:
    async with Scene(tmp_path) as scene:
        scene.service.trouble = AWAY
        await scene.waits()

        scene.runner.cancel("c")

        assert (await scene.end()).outcome == "canceled"
        assert (scene.spool / "stdout").read_bytes() == b"said"
        scene.service.trouble = None
        scene.clock.advance(LONGEST_PAUSE_S)
        await until(lambda: not scene.spool.exists())
        assert scene.service.objects["s3://results/c/stdout"] == b"said"


async def test_one_whose_outputs_are_refused_fails_with_the_reason(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        scene.service.trouble = Refused("the S3 service refuses it (AccessDenied)")
        scene.kernel.go.set()

        ended = await scene.end()

        assert ended.outcome == "failed"
        assert ended.reason == (
            "The calculation's output could not be stored: "
            "the S3 service refuses it (AccessDenied)."
        )
        assert (scene.spool / "stdout").read_bytes() == b"said"


async def test_one_whose_outputs_could_not_be_spooled_is_told_why_and_not_what_followed(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.spool.write_text("in the way, as a full disk would be")
    async with scene:
        scene.kernel.go.set()

        ended = await scene.end()

    assert (ended.outcome, ended.reason) == (
        "failed",
        "The calculation's output could not be stored: File exists.",
    )


async def test_a_driver_that_ends_while_outputs_wait_tells_how_the_block_ended(
    tmp_path: Path,
) -> None:
    async with Scene(tmp_path) as scene:
        scene.service.trouble = AWAY
        await scene.waits()
        await scene.lost()

        await scene.runner.abort("failed", "The JVM died.")

        assert (await scene.end()).outcome == "completed"
        assert (scene.spool / "stdout").read_bytes() == b"said"


async def test_a_block_that_its_driver_takes_with_it_has_its_outputs_in_place(
    tmp_path: Path,
) -> None:
    async with Scene(tmp_path) as scene:
        await scene.lost()

        await scene.runner.abort("failed", "The JVM died.")

        ended = await scene.end()
        assert (ended.outcome, ended.reason) == ("failed", "The JVM died.")
        assert scene.service.objects["s3://results/c/stdout"] == b"said"
        assert not scene.spool.exists()


async def test_a_cancelled_block_that_was_never_begun_has_its_empty_outputs(
    tmp_path: Path,
) -> None:
    async with Scene(tmp_path) as scene:
        scene.runner.cancel("later")
        scene.runner.take(
            Run(
                calculation_id="later",
                code="x",
                output_dir="",
                buckets={},
                output_uri="s3://results/later",
            )
        )
        scene.kernel.go.set()

        await until(lambda: len(scene.outbox.after(0)) >= 2 and not scene.runner.busy)

        last = scene.outbox.after(0)[-1]
        assert isinstance(last, Ended)
        assert (last.calculation_id, last.outcome) == ("later", "canceled")
        assert scene.service.objects["s3://results/later/stdout"] == b""
        assert len(scene.service.objects) == 6

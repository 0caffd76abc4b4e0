"""Outputs on their way into a service that answers, refuses, is away, and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sparkowl.agent.outputs import Outputs
from sparkowl.agent.uploads import (
    HURRY_S,
    LONGEST_PAUSE_S,
    LOOK_EVERY_S,
    Carrier,
    Refused,
    ServiceAway,
    Upload,
)
from sparkowl.clock import Manual

HOUR_S = 3600.0
ENCRYPTION = {"option": "SSE_KMS", "kms_key": "key"}
CONTENT = {"stdout": b"said", "stderr": b"warned", "result.json": b'{"outputs": []}'}


class MakeBelieveService:
    """A service with a switch."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.encryptions: list[Mapping[str, str]] = []
        self.trouble: Exception | None = None
        #: Requests get no answer.
        self.hangs = False
        self.asked = 0

    async def put(self, uri: str, content: bytes, encryption: Mapping[str, str]) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        self.objects[uri] = content
        self.encryptions.append(encryption)


class RestingClock(Manual):
    """A clock that knows whether somebody waits for it to be turned."""

    resting = 0

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        self.resting += 1
        try:
            await super().wait(event, seconds)
        finally:
            self.resting -= 1


class Scene:
    """A calculation whose outputs are carried, and a clock that is turned."""

    def __init__(self, folder: Path) -> None:
        self.service = MakeBelieveService()
        self.clock = RestingClock()
        self.served: list[Path] = []
        self.spool = folder / "spool" / "c"
        self.outputs = Outputs(self.spool, None, 1000)
        self.cancelled = asyncio.Event()
        self.upload = Upload(
            Carrier(
                put=self.service.put,
                limit_s=12 * HOUR_S,
                served=self.served.append,
                time=self.clock,
            ),
            self.spool,
            "s3://results/c",
            ENCRYPTION,
        )

    def end(self) -> asyncio.Task[str]:
        """The block ends: what becomes of its outputs."""
        self.outputs.text("stdout", "said")
        self.outputs.text("stderr", "warned")
        self.outputs.close()
        self.upload.over()
        return asyncio.create_task(self.upload.stored(self.cancelled))

    async def pass_(self, seconds: float) -> None:
        """Time goes by, in steps in which everything comes to rest."""
        while seconds > 0:
            await self.settled()
            self.clock.advance(min(seconds, LONGEST_PAUSE_S))
            seconds -= LONGEST_PAUSE_S
        await self.settled()

    async def settled(self) -> None:
        """A spooled file is read in a thread, which takes no time of the clock."""
        for _ in range(5):
            await asyncio.sleep(0)
        await until(lambda: self.clock.resting > 0 or self.upload.done)

    @property
    def stored(self) -> dict[str, bytes]:
        return {uri.removeprefix("s3://results/c/"): v for uri, v in self.service.objects.items()}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_at_the_end_all_three_are_there_and_the_spool_has_served(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    assert await scene.end() == ""

    assert scene.stored == CONTENT
    assert scene.service.encryptions == [ENCRYPTION] * 3
    assert scene.served == [scene.spool]


async def test_what_was_said_so_far_can_be_read_while_the_block_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.settled()
    assert scene.service.asked == 0

    scene.outputs.text("stdout", "so far")
    await scene.pass_(LOOK_EVERY_S)
    await until(lambda: scene.stored.get("stdout") == b"so far")
    assert json.loads(scene.stored["result.json"]) == {"outputs": []}
    asked = scene.service.asked
    await scene.pass_(LOOK_EVERY_S)
    assert scene.service.asked == asked, "what did not change is not put again"

    scene.outputs.text("stdout", ", and more")
    await scene.pass_(LOOK_EVERY_S)
    await until(lambda: scene.stored["stdout"] == b"so far, and more")
    assert scene.service.asked == asked + 1
    assert scene.served == []
    await scene.upload.dropped()
    scene.outputs.close()


async def test_an_outage_of_an_hour_loses_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.service.trouble = ServiceAway("it does not answer")

    storing = scene.end()
    await scene.pass_(HOUR_S)

    assert not storing.done()
    assert scene.served == []
    tries = scene.service.asked // 3
    assert HOUR_S / LONGEST_PAUSE_S <= tries <= 2 * HOUR_S / LONGEST_PAUSE_S + 10

    scene.service.trouble = None
    await scene.pass_(LONGEST_PAUSE_S)
    assert await storing == ""
    assert scene.stored == CONTENT
    assert scene.served == [scene.spool]


async def test_a_block_that_ends_in_an_outage_it_began_before_is_complete_after(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.outputs.text("stdout", "")
    await scene.pass_(LOOK_EVERY_S)
    await until(lambda: len(scene.stored) == 3)
    scene.service.trouble = ServiceAway("it does not answer")
    await scene.pass_(10 * LOOK_EVERY_S)
    storing = scene.end()
    await scene.pass_(60)
    scene.service.trouble = None

    await scene.pass_(LONGEST_PAUSE_S)

    assert await storing == ""
    assert scene.stored == CONTENT


async def test_a_service_that_never_comes_back_fails_the_calculation_in_the_end(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.service.trouble = ServiceAway("the S3 service does not answer")

    storing = scene.end()
    await scene.pass_(12 * HOUR_S + LONGEST_PAUSE_S)

    assert await storing == (
        "The calculation's output could not be stored within 12 h: the S3 service does not answer."
    )
    assert scene.served == []
    assert (scene.spool / "stdout").read_bytes() == b"said"


async def test_what_is_refused_for_good_is_not_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.service.trouble = Refused("the S3 service refuses it (NoSuchBucket)")

    assert await scene.end() == (
        "The calculation's output could not be stored: the S3 service refuses it (NoSuchBucket)."
    )
    assert scene.served == []
    assert (scene.spool / "stderr").read_bytes() == b"warned"


async def test_a_refusal_while_the_block_runs_may_be_mended_by_its_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.service.trouble = Refused("the S3 service refuses it (AccessDenied)")
    await scene.pass_(LOOK_EVERY_S)
    await until(lambda: scene.service.asked == 3)
    scene.service.trouble = None

    assert await scene.end() == ""
    assert scene.stored == CONTENT


async def test_somebody_who_cancels_does_not_wait_and_the_outputs_come_later(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.service.trouble = ServiceAway("it does not answer")
    storing = scene.end()
    await scene.pass_(60)

    scene.cancelled.set()

    async with asyncio.timeout(HURRY_S + 5):
        assert await storing == ""
    assert scene.served == []
    scene.service.trouble = None
    await scene.pass_(LONGEST_PAUSE_S)
    await until(lambda: scene.served == [scene.spool])
    assert scene.stored == CONTENT


async def test_a_service_that_hangs_does_not_hold_the_end_of_the_driver(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.service.hangs = True
    storing = scene.end()
    await until(lambda: scene.service.asked == 3)

    async with asyncio.timeout(HURRY_S + 5):
        await scene.upload.parted()
        await scene.upload.dropped()

    assert scene.upload.done
    assert (scene.spool / "stdout").read_bytes() == b"said"
    storing.cancel()


async def test_a_spool_that_is_gone_is_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.outputs.close()
    (scene.spool / "stdout").unlink()
    scene.upload.over()

    assert await scene.upload.stored(scene.cancelled) == (
        "The calculation's output could not be read again: No such file or directory."
    )

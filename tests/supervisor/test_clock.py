"""The clock that tests turn by hand keeps the promises of the machine's."""

from __future__ import annotations

import asyncio

import pytest

from sparkowl.clock import Clock, Manual, System


@pytest.mark.parametrize("clock", [System(), Manual()], ids=["system", "manual"])
async def test_a_wait_ends_when_its_event_is_set(clock: Clock) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 3600), name="waiting")

    event.set()
    await waiting


@pytest.mark.parametrize("clock", [System(), Manual()], ids=["system", "manual"])
@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_wait_for_a_time_that_has_come_ends_at_once(clock: Clock, seconds: float) -> None:
    async with asyncio.timeout(5):
        await clock.wait(asyncio.Event(), seconds)


@pytest.mark.parametrize("clock", [System(), Manual()], ids=["system", "manual"])
async def test_the_time_is_aware_and_in_utc(clock: Clock) -> None:
    offset = clock.now().utcoffset()

    assert offset is not None
    assert offset.total_seconds() == 0


async def test_time_passes_only_when_it_is_turned() -> None:
    clock, over = Manual(), []
    waits = [
        asyncio.create_task(clock.wait(asyncio.Event(), seconds), name=str(seconds))
        for seconds in (30, 10, 20)
    ]
    for wait in waits:
        wait.add_done_callback(lambda task: over.append(task.get_name()))

    seen = []
    for seconds in (0, 10, 10, 10):
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(seconds)
        for _ in range(5):
            await asyncio.sleep(0)
        seen.append(list(over))

    assert seen == [[], ["10"], ["10", "20"], ["10", "20", "30"]]

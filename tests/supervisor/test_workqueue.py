"""The work queue: one worker a key, no lost wake-up, and no work dropped in its middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from sparkowl.clock import Manual
from sparkowl.domain.errors import Conflict
from sparkowl.supervisor.workqueue import (
    MAX_BACKOFF_S,
    Done,
    Rest,
    Verdict,
    WorkQueue,
    backoff_s,
)


@asynccontextmanager
async def working(
    work: Callable[[str], Awaitable[Verdict]], clock: Manual
) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(clock, work)
    task = asyncio.create_task(queue.run(), name="queue")
    await settle()
    try:
        yield queue
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_key_is_worked_on_when_woken_and_when_its_rest_is_over() -> None:
    seen: list[str] = []

    async def work(key: str) -> Verdict:
        seen.append(key)
        return Rest(10)

    clock = Manual()
    async with working(work, clock) as queue:
        queue.wake("a")
        await settle()
        clock.advance(9)
        await settle()
        resting = len(seen)
        clock.advance(1)
        await settle()

    assert (resting, len(seen)) == (1, 2)


async def test_keys_that_were_woken_before_the_start_are_worked_on() -> None:
    seen: list[str] = []

    async def work(key: str) -> Verdict:
        seen.append(key)
        return Done()

    queue = WorkQueue(Manual(), work)
    queue.wake("a")
    queue.wake("b")
    task = asyncio.create_task(queue.run(), name="queue")
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert seen == ["a", "b"]


async def test_a_wake_up_during_the_work_is_not_lost_and_never_runs_beside_it() -> None:
    running, most, runs = 0, 0, 0
    go_on = asyncio.Event()

    async def work(key: str) -> Verdict:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return Done()

    async with working(work, Manual()) as queue:
        queue.wake("a")
        await settle()
        for _ in range(5):
            queue.wake("a")
        go_on.set()
        await settle()

    assert (most, runs) == (1, 2)


async def test_a_key_that_is_done_is_forgotten_and_can_be_woken_again() -> None:
    seen: list[str] = []

    async def work(key: str) -> Verdict:
        seen.append(key)
        return Done()

    async with working(work, Manual()) as queue:
        first = queue.wake("a")
        await settle()
        second = queue.wake("a")
        await settle()

    assert (first, second, seen) == (True, True, ["a", "a"])


async def test_many_keys_are_worked_on_at_once() -> None:
    inside: set[str] = set()
    all_in = asyncio.Event()

    async def work(key: str) -> Verdict:
        inside.add(key)
        if len(inside) == 10:
            all_in.set()
        await all_in.wait()
        return Done()

    async with working(work, Manual()) as queue:
        for number in range(10):
            queue.wake(str(number))
        await settle()

    assert all_in.is_set()


async def test_a_conflict_is_decided_again_at_once() -> None:
    tries = 0

    async def work(key: str) -> Verdict:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Conflict("moved")
        return Done()

    async with working(work, Manual()) as queue:
        queue.wake("a")
        await settle()

    assert tries == 3


async def test_work_that_fails_is_tried_again_and_does_no_harm_to_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[str] = []

    async def work(key: str) -> Verdict:
        tries.append(key)
        if key == "bad":
            raise LookupError("bug")
        return Rest(None)

    clock = Manual()
    async with working(work, clock) as queue:
        queue.wake("bad")
        queue.wake("good")
        await settle()
        for seconds in (2, 4, 8):
            clock.advance(seconds)
            await settle()

    assert tries.count("bad") == 4
    assert tries.count("good") == 1
    assert [record.message for record in caplog.records].count("work failed") == 4


def test_the_pause_grows_to_its_longest_and_stays_there_for_ever() -> None:
    pauses = [backoff_s(failures) for failures in range(1, 5000)]

    assert pauses[:6] == [2, 4, 8, 16, 32, MAX_BACKOFF_S]
    assert set(pauses[6:]) == {MAX_BACKOFF_S}


async def test_a_stop_waits_for_the_work_under_way_but_not_for_those_that_rest() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def work(key: str) -> Verdict:
        if key == "slow":
            began.set()
            await go_on.wait()
        finished.append(key)
        return Rest(3600)

    queue = WorkQueue(Manual(), work)
    queue.wake("slow")
    queue.wake("quick")
    task = asyncio.create_task(queue.run(), name="queue")
    await began.wait()
    task.cancel()
    await settle()
    still_running = not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert still_running
    assert finished == ["quick", "slow"]


async def test_a_wake_up_after_the_end_does_nothing() -> None:
    async def work(key: str) -> Verdict:
        return Done()

    async with working(work, Manual()) as queue:
        pass

    queue.wake("late")
    await settle()

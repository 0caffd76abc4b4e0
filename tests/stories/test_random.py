"""Any sequence of requests, failures and time: what must always hold, holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stories.world import World, all_sessions, of_session, world

from sparkowl.domain.errors import RequestError
from sparkowl.launchers.fake import Knobs
from sparkowl.store import drivers

Act = Callable[[World, int], Awaitable[object]]


async def some_session(w: World, number: int) -> str | None:
    found = sorted(session.id for session in await w.store.read(all_sessions))
    return found[number % len(found)] if found else None


async def some_calculation(w: World, number: int) -> str | None:
    session_id = await some_session(w, number)
    if session_id is None:
        return None
    found = await w.store.read(lambda tx: of_session(tx, session_id))
    return found[-1].id if found else None


async def some_driver(w: World, number: int) -> str | None:
    found = await w.store.read(drivers.list_live)
    launched = [driver.id for driver in found if await w.launcher.find(driver.id) is not None]
    return launched[number % len(launched)] if launched else None


async def start(w: World, number: int) -> None:
    extra = {"spark.default.parallelism": "2"} if number % 2 else {}
    await w.start_and_look(EngineConfiguration={"SparkProperties": extra})


async def terminate(w: World, number: int) -> None:
    session_id = await some_session(w, number)
    if session_id is not None:
        await w.call("TerminateSession", SessionId=session_id)


async def calculate(w: World, number: int) -> None:
    session_id = await some_session(w, number)
    if session_id is not None:
        code = ("1", "hang", "fail X", "die Y")[number % 4]
        await w.call("StartCalculationExecution", SessionId=session_id, CodeBlock=code)


async def stop_calculation(w: World, number: int) -> None:
    calculation_id = await some_calculation(w, number)
    if calculation_id is not None:
        await w.call("StopCalculationExecution", CalculationExecutionId=calculation_id)


async def kill(w: World, number: int) -> None:
    driver_id = await some_driver(w, number)
    if driver_id is not None:
        await w.launcher.kill(driver_id)


async def cut(w: World, number: int) -> None:
    driver_id = await some_driver(w, number)
    if driver_id is not None:
        await w.launcher.cut(driver_id)


async def reconnect(w: World, number: int) -> None:
    driver_id = await some_driver(w, number)
    if driver_id is not None:
        await w.launcher.cut(driver_id)
        w.launcher.reconnect(driver_id)


async def turn_a_knob(w: World, number: int) -> None:
    name = ("never_ready", "never_adopts", "dies_before_link")[number % 3]
    setattr(w.launcher.knobs, name, not getattr(w.launcher.knobs, name))


async def fail_launches(w: World, number: int) -> None:
    w.launcher.knobs.launch_error = "No." if number % 2 else None
    w.launcher.knobs.fails_to_start = "No." if number % 3 == 0 else None


async def let_time_pass(w: World, number: int) -> None:
    w.clock.advance((0.5, 5, 20, 100, 200, 1300)[number % 6])


async def settle(w: World, number: int) -> None:
    await w.settle()


async def crash_and_restart(w: World, number: int) -> None:
    await w.crash()
    await w.restart()


ACTS: list[Act] = [
    start, start, terminate, calculate, calculate, stop_calculation, kill, cut, reconnect,
    turn_a_knob, fail_launches, let_time_pass, settle, settle, crash_and_restart,
]  # fmt: skip


async def come_to_rest(w: World) -> None:
    """Nothing fails any more, and time passes: every session must have got somewhere."""
    for name, value in vars_of(Knobs()).items():
        setattr(w.launcher.knobs, name, value)
    for _ in range(12):
        await w.settle()
        w.clock.advance(60)
    await w.settle()


def vars_of(knobs: Knobs) -> dict[str, object]:
    return {name: getattr(knobs, name) for name in Knobs.__slots__}


async def play(folder: Path, acts: list[tuple[int, int]]) -> None:
    async with world(folder, pool=1, starts_at_once=2) as w:
        for act, number in acts:
            with suppress(RequestError):
                await ACTS[act](w, number)
        await come_to_rest(w)
        await w.check()
        for session in await w.store.read(all_sessions):
            assert session.state in {"IDLE", "BUSY", "TERMINATED", "FAILED"}, session
        # And from here a new session starts, whatever happened before.
        session_id = await w.start()
        for _ in range(6):
            await w.advance(0.5)
        assert await w.state(session_id) == "IDLE"


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(st.tuples(st.integers(0, len(ACTS) - 1), st.integers(0, 11)), min_size=1, max_size=25)
)
def test_whatever_happens_no_session_is_stuck_and_no_driver_is_left(
    acts: list[tuple[int, int]],
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), acts))

"""Two servers on one database: each looks after its own, and takes over when the other dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from tests.stories.world import LEASE_S, World, all_sessions, pair

from sparkowl.domain.limits import Limits, Quota
from sparkowl.store import drivers, servers


async def test_any_call_is_answered_on_either(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()

        calculation_id = await b.calculate(session_id, "1")

        assert (await a.calculation(calculation_id)).state == "COMPLETED"
        assert (await a.session(session_id)).server == a.server
        assert await b.terminate(session_id) == "TERMINATING"
        assert await a.state(session_id) == "TERMINATED"


async def test_a_cancellation_on_the_other_server_reaches_the_driver(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        calculation_id = await a.calculate(await a.start(), "hang")

        await b.stop_calculation(calculation_id)

        assert (await b.calculation(calculation_id)).state == "CANCELED"


async def test_a_token_gives_the_same_session_on_both(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        token = "t" * 40

        assert await a.start(ClientRequestToken=token) == await b.start(ClientRequestToken=token)


async def test_idle_and_busy_sessions_of_a_dead_server_go_on(tmp_path: Path) -> None:
    async with pair(tmp_path, starts_at_once=4) as (a, b):
        idle, busy = await a.start(), await a.start()
        calculation_id = await a.calculate(busy, "hang")

        await a.crash()
        await b.advance(1)

        assert (await b.session(idle)).server == b.server
        assert await b.state(idle) == "IDLE"
        assert await b.state(busy) == "BUSY"
        assert (await b.calculation(await b.calculate(idle, "1"))).state == "COMPLETED"
        assert (await b.calculation(calculation_id)).state == "RUNNING"
        await b.stop_calculation(calculation_id)
        assert await b.state(busy) == "IDLE"


async def test_a_session_that_was_starting_is_started(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        a.launcher.knobs.never_ready = True
        session_id = await a.start()
        assert await a.state(session_id) == "CREATING"

        await a.crash()
        a.launcher.knobs.never_ready = False
        await b.advance(1)

        assert await b.state(session_id) == "IDLE"
        assert b.launcher.launches == 0


async def test_a_session_that_waited_in_the_queue_is_started(tmp_path: Path) -> None:
    limits = Limits(account=Quota(sessions=1), queue_when_full=True)
    async with pair(tmp_path, limits=limits) as (a, b):
        first = await b.start()
        waiting = await a.start()
        await a.crash()
        await b.advance(1)
        assert await b.state(waiting) == "CREATING"

        await b.terminate(first)
        await b.advance(1)

        assert await b.state(waiting) == "IDLE"


async def test_a_session_that_was_ending_ends(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()
        await a.crash()
        await b.terminate(session_id)

        await b.advance(1)

        assert await b.state(session_id) == "TERMINATED"
        assert b.launcher.alive == 0


async def test_a_frozen_server_loses_its_sessions_when_its_lease_runs_out(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()
        calculation_id = await a.calculate(session_id, "hang")
        await a.freeze()

        await tick(b, LEASE_S - 2)
        assert (await b.session(session_id)).server == a.server
        await tick(b, 3)

        assert (await b.session(session_id)).server == b.server
        await b.stop_calculation(calculation_id)
        assert await b.state(session_id) == "IDLE"
        await a.thaw()


async def test_a_server_that_thaws_joins_again_and_leaves_what_is_not_its_own(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()
        driver = await a.driver(session_id)
        await a.freeze()
        await tick(b, LEASE_S + 1)

        await a.thaw()
        await tick(a, 2)

        assert (await b.session(session_id)).server == b.server
        assert (await b.calculation(await b.calculate(session_id, "1"))).state == "COMPLETED"
        assert not a.links.linked(driver.id)
        assert b.links.linked(driver.id)
        assert {s.id for s in await a.store.read(servers.list_all)} == {a.server, b.server}
        assert (await a.session(await a.start())).server == a.server


async def test_a_decision_of_a_frozen_server_comes_to_nothing(tmp_path: Path) -> None:
    """It froze with the end of an idle session in its hands; the session works again by now."""
    async with pair(tmp_path) as (a, b):
        session_id = await a.start(SessionIdleTimeoutInMinutes=1)
        await a.freeze()
        await tick(b, LEASE_S + 1)
        calculation_id = await b.calculate(session_id, "hang")
        await tick(b, 120)

        await a.thaw()

        assert await b.state(session_id) == "BUSY"
        await b.stop_calculation(calculation_id)


async def test_a_driver_that_both_servers_launched_is_the_one_that_runs(tmp_path: Path) -> None:
    """The handle that is written is that of the agent that ended; the other one is found."""
    async with pair(tmp_path) as (a, _b):
        session_id = await a.start()
        driver = await a.driver(session_id)
        await a.store.write(
            lambda tx: drivers.attach(tx, driver.id, '{"v": 1, "fake": "gone"}', was=driver.handle)
        )

        await a.cut(driver.id)
        await a.advance(1)

        assert (await a.driver(session_id)).handle == driver.handle
        assert await a.state(session_id) == "IDLE"
        a.launcher.reconnect(driver.id)
        await a.settle()


async def test_each_server_has_a_pool_of_its_own(tmp_path: Path) -> None:
    async with pair(tmp_path, pool=1) as (a, b):
        await tick(a, 2)
        assert {member.server for member in await a.waiting()} == {a.server, b.server}

        session_id, state = await b.start_and_look()

        assert state == "CREATED"
        await b.settle()
        assert (await b.driver(session_id)).server == b.server
        assert await b.state(session_id) == "IDLE"


async def test_the_pool_of_a_dead_server_is_ended(tmp_path: Path) -> None:
    async with pair(tmp_path, pool=1) as (a, b):
        await tick(a, 2)

        await a.crash()
        await tick(b, 6)

        [left] = await b.waiting()
        assert left.server == b.server
        assert b.launcher.alive == 1


async def test_a_server_that_stops_ends_its_own_sessions_only(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        of_a, of_b = await a.start(), await b.start()

        await a.stop()

        assert await b.state(of_a) == "TERMINATED"
        assert await b.state(of_b) == "IDLE"


async def test_a_server_that_stops_and_keeps_sessions_hands_them_over_at_once(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()

        await a.stop(keep_sessions=True)
        await b.settle()

        assert (await b.session(session_id)).server == b.server
        assert await b.state(session_id) == "IDLE"


async def test_a_jump_of_the_clock_takes_no_lease_away(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, _b):
        session_id = await a.start()

        a.clock.jump(3600)
        await tick(a, LEASE_S)
        a.clock.jump(-3600)
        await tick(a, LEASE_S)

        assert (await a.session(session_id)).server == a.server


async def test_a_driver_that_was_sent_to_another_server_is_called_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()
        driver = await a.driver(session_id)

        await b.launcher.find(driver.id)
        await b.settle()
        assert not b.links.linked(driver.id)
        await tick(a, 6)

        assert await a.state(session_id) == "IDLE"
        assert a.links.linked(driver.id)


async def tick(w: World, seconds: int) -> None:
    """Time passes as it does for servers: second by second."""
    for _ in range(seconds):
        await w.advance(1)


@pytest.mark.parametrize("hour", [3600, -3600])
async def test_a_jump_of_the_clock_neither_ends_a_session_nor_keeps_it(
    tmp_path: Path, hour: int
) -> None:
    async with pair(tmp_path) as (a, _b):
        session_id = await a.start(SessionIdleTimeoutInMinutes=1)
        await tick(a, 30)

        a.clock.jump(hour)
        await a.settle()

        await tick(a, 28)
        assert await a.state(session_id) == "IDLE"
        await tick(a, 3)
        assert await a.state(session_id) == "TERMINATED"


async def test_a_start_of_which_nobody_heard_that_it_was_committed_comes_up(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, _b):
        a.gate.unanswered = True
        with pytest.raises(OperationalError):
            await a.start()
        a.gate.unanswered = False

        await tick(a, 15)

        [session] = await a.store.read(all_sessions)
        assert session.state == "IDLE"


async def test_a_take_over_of_which_nobody_heard_that_it_was_committed_is_one(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()
        b.gate.unanswered = True
        await a.crash()
        await b.advance(1)
        b.gate.unanswered = False
        assert (await b.session(session_id)).server == b.server

        await tick(b, 15)

        assert b.links.linked((await b.driver(session_id)).id)
        assert (await b.calculation(await b.calculate(session_id, "1"))).state == "COMPLETED"


async def test_the_other_server_is_told_although_the_first_look_failed(tmp_path: Path) -> None:
    async with pair(tmp_path) as (a, b):
        session_id = await a.start()

        b.gate.loses_read = True
        await b.terminate(session_id)
        await tick(b, 3)

        assert await a.state(session_id) == "TERMINATED"

"""A server that died, and the one after it on the same store."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.stories.world import World, world

from sparkowl.domain import session as session_domain
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import SessionId, new_driver_id
from sparkowl.launchers.base import LaunchSpec
from sparkowl.store import drivers, sessions

UNHEALTHY = "Session in unhealthy state. Please create a new session"


async def test_an_idle_session_lives_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        await w.crash()
        await w.restart()

        assert await w.history(session_id) == ["CREATING", "CREATED", "IDLE"]
        assert (await w.calculation(await w.calculate(session_id, "1"))).state == "COMPLETED"


async def test_a_calculation_that_runs_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")

        await w.crash()
        await w.restart()

        assert (await w.calculation(calculation_id)).state == "RUNNING"
        await w.stop_calculation(calculation_id)
        assert (await w.calculation(calculation_id)).state == "CANCELED"


async def test_what_the_driver_reported_while_no_server_was_there_is_taken_up(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        session_id = await w.start()
        await w.crash()

        w.launcher.knobs.never_ready = False
        await w.restart()

        assert await w.state(session_id) == "IDLE"


async def test_a_session_whose_driver_died_meanwhile_fails(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        await w.crash()
        await w.launcher.kill((await w.driver(session_id)).id)
        await w.restart()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert (session.reason or "").startswith(f"{UNHEALTHY} [CRASH] The fake driver ended. ")


async def test_a_session_whose_driver_does_not_come_back_fails(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        await w.crash()
        await w.restart()
        await w.cut(driver_id)
        await w.advance(20)
        await w.advance(100)

        assert await w.state(session_id) == "FAILED"
        assert w.launcher.alive == 0


async def intend(w: World, session_id: str) -> Driver:
    """The row of a driver that is about to be launched: where a server may die."""
    new = Driver(
        id=new_driver_id(),
        session_id=SessionId(session_id),
        fingerprint="f",
        created_at=w.clock.now(),
    )
    await w.store.write(lambda tx: drivers.insert_driver(tx, new))
    return new


async def test_a_session_that_was_never_launched_is_launched(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.crash()
        session_id, _ = await w.start_and_look()

        await w.restart()

        assert await w.state(session_id) == "IDLE"


async def test_a_launch_that_was_only_meant_is_done(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.crash()
        session_id, _ = await w.start_and_look()
        driver = await intend(w, session_id)

        await w.restart()

        assert await w.state(session_id) == "IDLE"
        assert (await w.driver(session_id)).id == driver.id
        assert w.launcher.alive == 1


async def test_a_launch_that_was_done_but_not_written_is_found_and_not_done_again(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        await w.crash()
        session_id, _ = await w.start_and_look()
        driver = await intend(w, session_id)
        await w.launcher.launch(
            LaunchSpec(
                driver_id=driver.id,
                engine_version=None,
                token=w.links.token(driver.id),
                properties={},
                buckets={},
                warm=False,
            )
        )

        await w.restart()

        assert await w.state(session_id) == "IDLE"
        assert (w.launcher.alive, w.launcher.launches) == (1, 1)


@pytest.mark.parametrize("event", ["TERMINATE_ASKED", "DRIVER_LOST"])
async def test_the_driver_of_a_session_that_was_ending_is_stopped(
    tmp_path: Path, event: str
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.crash()

        def end(tx: Connection) -> None:
            what = session_domain.Event(event)
            sessions.change(tx, session_id, what, at=w.clock.now(), reason="why")

        await w.store.write(end)
        await w.restart()

        assert await w.state(session_id) == (
            "TERMINATED" if event == "TERMINATE_ASKED" else "FAILED"
        )
        assert w.launcher.alive == 0


async def test_the_members_of_the_old_pool_are_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [old] = await w.waiting()

        await w.crash()
        await w.restart()
        await w.advance(3)

        [new] = await w.waiting()
        assert new.id != old.id
        assert w.launcher.alive == 1


async def test_a_session_that_timed_out_while_no_server_was_there_ends(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(SessionIdleTimeoutInMinutes=1)

        await w.crash()
        w.clock.advance(3600)
        await w.restart()

        assert await w.state(session_id) == "TERMINATED"


async def test_a_repeated_request_finds_its_session_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(ClientRequestToken="t" * 40)

        await w.crash()
        await w.restart()

        assert await w.start(ClientRequestToken="t" * 40) == session_id


async def test_a_calculation_that_ended_before_its_driver_died_is_completed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        driver_id = (await w.driver(session_id)).id

        await w.crash()
        w.launcher.complete(driver_id)
        await w.launcher.kill(driver_id)
        await w.restart()

        calculation = await w.calculation(calculation_id)
        assert calculation.state == "COMPLETED"
        assert w.outputs(calculation)["stdout"] == b"hang"
        assert await w.state(session_id) == "FAILED"


async def test_why_a_driver_ended_alone_is_the_sessions_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        await w.crash()
        w.launcher.fail(driver_id, "The server stayed away too long.", code="SERVER")
        await w.launcher.kill(driver_id)
        await w.restart()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason is not None
        assert session.reason.startswith(f"{UNHEALTHY} [SERVER] The server stayed away too long.")


async def test_a_session_that_was_ending_keeps_what_its_calculation_came_to(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        driver_id = (await w.driver(session_id)).id
        await w.crash()
        w.launcher.complete(driver_id)
        await w.call("TerminateSession", SessionId=session_id)

        await w.restart()

        assert await w.state(session_id) == "TERMINATED"
        assert (await w.calculation(calculation_id)).state == "COMPLETED"


async def test_what_is_no_fact_of_the_drivers_own_is_passed_over(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id, other_id = await w.start(), await w.start()
        foreign = await w.calculate(other_id, "hang")
        driver_id = (await w.driver(session_id)).id

        await w.crash()
        w.launcher.leave(driver_id, "nonsense", '{"kind": "stop"}', '{"kind": "ended"}', "[" * 9999)
        w.launcher.leave(
            driver_id,
            f'{{"kind": "ended", "seq": 1, "calculation_id": "{foreign}", "outcome": "failed",'
            ' "reason": "", "at": 1}',
        )
        await w.launcher.kill(driver_id)
        await w.restart()

        assert await w.state(session_id) == "FAILED"
        assert (await w.calculation(foreign)).state == "RUNNING"


async def test_outputs_that_the_driver_could_not_store_are_stored_when_it_ends(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        w.launcher.knobs.stores_nothing = True
        calculation_id = await w.calculate(session_id, "1")
        before = w.outputs(await w.calculation(calculation_id))

        await w.terminate(session_id)

        calculation = await w.calculation(calculation_id)
        assert set(before.values()) == {None}
        assert calculation.state == "FAILED"
        assert w.outputs(calculation)["stdout"] == b"1"


async def test_a_clean_stop_that_keeps_sessions_tells_them_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        idle_id = await w.start()
        busy_id = await w.start()
        calculation_id = await w.calculate(busy_id, "hang")
        await w.advance(3)
        [member] = await w.waiting()

        await w.stop(keep_sessions=True)
        gone = await w.launcher.find(member.id)
        alive = w.launcher.alive
        await w.restart()

        assert (gone, alive) == (None, 2)
        assert await w.state(idle_id) == "IDLE"
        assert await w.state(busy_id) == "BUSY"
        assert (await w.calculation(calculation_id)).state == "RUNNING"
        await w.stop_calculation(calculation_id)


async def test_a_fact_that_cannot_be_keeps_no_session_from_its_end(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        await w.crash()
        adopted = f'{{"kind": "adopted", "seq": 1, "session_id": "{session_id}"}}'
        w.launcher.leave(driver_id, adopted)
        await w.launcher.kill(driver_id)
        await w.restart()

        assert await w.state(session_id) == "FAILED"

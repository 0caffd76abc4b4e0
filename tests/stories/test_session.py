"""The lives of sessions, from StartSession to the end of their drivers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stories.world import world

from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.limits import Limits, Quota

UNHEALTHY = "Session in unhealthy state. Please create a new session"
NOT_STARTED = "Session failed to start"


def more(session_id: str) -> str:
    """What the reason of a failed session ends with."""
    return f" Diagnose it with: sparkowl sessions diagnose {session_id}"


async def test_a_cold_session_is_creating_then_created_then_idle(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id, answered = await w.start_and_look()
        await w.settle()

        assert answered == "CREATING"
        assert await w.history(session_id) == ["CREATING", "CREATED", "IDLE"]
        assert w.launcher.alive == 1


async def test_a_warm_session_is_created_then_idle(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        session_id, answered = await w.start_and_look()
        await w.settle()

        assert answered == "CREATED"
        assert await w.history(session_id) == ["CREATED", "IDLE"]


async def test_the_start_timeline_is_kept_and_published(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        session = await w.session(session_id)
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/start.json"))
        assert {"asked", "slot", "jvm", "context", "ready"} <= set(session.timeline)


async def test_a_terminated_session_leaves_no_driver(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        assert await w.terminate(session_id) == "TERMINATING"

        session = await w.session(session_id)
        assert (session.state, session.reason) == (
            "TERMINATED",
            "Session was terminated per request [USER]",
        )
        assert w.launcher.alive == 0


async def test_terminating_twice_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.terminate(session_id)
        before = await w.session(session_id)

        assert await w.terminate(session_id) == "TERMINATED"

        assert await w.session(session_id) == before


async def test_terminate_during_a_launch_leaves_no_driver(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        session_id = await w.start()
        assert await w.state(session_id) == "CREATING"

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"
        assert w.launcher.alive == 0


async def test_terminate_at_once_leaves_no_driver(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id, _ = await w.start_and_look()

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"
        assert w.launcher.alive == 0


async def test_an_idle_session_times_out_with_athenas_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(SessionIdleTimeoutInMinutes=1)
        await w.advance(59)
        assert await w.state(session_id) == "IDLE"

        await w.advance(1)

        session = await w.session(session_id)
        assert (session.state, session.reason) == (
            "TERMINATED",
            "Session was terminated per request [IDLE] Nothing ran in it for a minute.",
        )


async def test_work_puts_the_idle_timeout_off(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(SessionIdleTimeoutInMinutes=1)
        await w.advance(50)
        await w.calculate(session_id, "1")
        await w.advance(50)
        assert await w.state(session_id) == "IDLE"

        await w.advance(10)

        assert await w.state(session_id) == "TERMINATED"


async def test_a_busy_session_does_not_time_out(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(SessionIdleTimeoutInMinutes=1)
        await w.calculate(session_id, "hang")

        await w.advance(3600)

        assert await w.state(session_id) == "BUSY"


async def test_a_driver_killed_while_idle_fails_its_session_and_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id, other = await w.start(), await w.start()

        await w.launcher.kill((await w.driver(session_id)).id)
        await w.settle()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason == f"{UNHEALTHY} [CRASH] The fake driver ended." + more(session_id)
        assert await w.state(other) == "IDLE"


async def test_a_driver_killed_while_busy_fails_session_and_calculation(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")

        await w.launcher.kill((await w.driver(session_id)).id)
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/{calculation_id}/stdout"))
        await w.settle()

        calculation = await w.calculation(calculation_id)
        assert await w.state(session_id) == "FAILED"
        assert calculation.state == "FAILED"
        assert calculation.reason == (await w.session(session_id)).reason
        assert f"{UNHEALTHY} [CRASH] The fake driver ended." in str(calculation.reason)


async def test_a_driver_that_says_why_it_dies_is_believed_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        calculation_id = await w.calculate(session_id, "die The kernel was killed by signal 9.")
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/{calculation_id}/stdout"))
        await w.settle()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason == (
            f"{UNHEALTHY} [CRASH] The kernel was killed by signal 9." + more(session_id)
        )
        assert (await w.calculation(calculation_id)).state == "FAILED"
        assert w.launcher.alive == 0


async def test_a_broken_link_degrades_the_session_and_a_new_one_heals_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        await w.cut(driver_id)
        await w.advance(19)
        before = await w.state(session_id)
        await w.advance(1)
        degraded = await w.session(session_id)
        w.launcher.reconnect(driver_id)
        await w.settle()

        assert before == "IDLE"
        assert (degraded.state, degraded.reason) == (
            "DEGRADED",
            f"{UNHEALTHY} [SERVER] Its agent does not answer.",
        )
        healed = await w.session(session_id)
        assert (healed.state, healed.reason) == ("IDLE", None)


async def test_a_link_that_breaks_for_a_moment_is_no_matter(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        for _ in range(5):
            await w.cut(driver_id)
            await w.advance(10)
            w.launcher.reconnect(driver_id)
            await w.settle()

        assert await w.history(session_id) == ["CREATING", "CREATED", "IDLE"]


async def test_a_link_that_stays_broken_fails_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        await w.cut((await w.driver(session_id)).id)
        await w.advance(20)
        await w.advance(100)

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason == (
            f"{UNHEALTHY} [SERVER] Its agent was silent for 120 s." + more(session_id)
        )
        assert w.launcher.alive == 0


async def test_a_degraded_session_takes_no_calculation_and_can_be_terminated(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.cut((await w.driver(session_id)).id)
        await w.advance(20)

        with pytest.raises(InvalidRequest, match=r"^Session is in the DEGRADED state; needs"):
            await w.calculate(session_id, "1")
        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"


async def test_a_driver_that_is_not_ready_in_time_fails_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        session_id = await w.start()
        await w.advance(179)
        assert await w.state(session_id) == "CREATING"

        await w.advance(1)

        session = await w.session(session_id)
        assert session.state == "FAILED"
        why = f"{NOT_STARTED} [CRASH] The Spark driver was not ready after 180 s."
        assert session.reason == why + more(session_id)
        assert w.launcher.alive == 0


async def test_a_launch_that_is_refused_fails_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.launch_error = "No Java was found."
        session_id = await w.start()

        session = await w.session(session_id)
        assert (session.state, session.reason) == (
            "FAILED",
            f"{NOT_STARTED} [SERVER] No Java was found." + more(session_id),
        )


async def test_a_driver_that_dies_before_it_dials_fails_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.dies_before_link = True
        session_id = await w.start()

        session = await w.session(session_id)
        assert (session.state, session.reason) == (
            "FAILED",
            f"{NOT_STARTED} [CRASH] The fake driver ended." + more(session_id),
        )


async def test_a_driver_that_cannot_start_fails_the_session_with_its_own_words(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.fails_to_start = "The JVM exited with status 1."
        session_id = await w.start()

        session = await w.session(session_id)
        assert (session.state, session.reason) == (
            "FAILED",
            f"{NOT_STARTED} [CRASH] The JVM exited with status 1." + more(session_id),
        )
        assert w.launcher.alive == 0


async def test_a_driver_that_never_takes_its_session_does_not_keep_it_waiting_for_ever(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_adopts = True
        session_id = await w.start()
        assert await w.state(session_id) == "CREATED"

        await w.advance(180)

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason == (
            f"{UNHEALTHY} [CRASH] Its driver did not take it within 180 s." + more(session_id)
        )


async def test_a_property_that_is_not_allowed_fails_the_session_without_a_driver(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, pool=1) as w:
        asked = {"SparkProperties": {"spark.master": "local[64]", "not.spark": "x"}}
        session_id = await w.start(EngineConfiguration=asked)

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason == (
            f"{NOT_STARTED} [USER] Spark properties that cannot be set in a session: "
            "spark.master (where and how Spark runs is the server's)" + more(session_id)
        )
        assert len(await w.waiting()) == 1


async def test_a_property_that_is_not_sparks_is_ignored_and_the_start_is_warm(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, pool=1) as w:
        asked = {"SparkProperties": {"not.spark": "x", "spark.sql.shuffle.partitions": "3"}}

        _, answered = await w.start_and_look(EngineConfiguration=asked)

        assert answered == "CREATED"


async def test_a_property_that_is_fixed_at_launch_makes_the_start_cold(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        asked = {"SparkProperties": {"spark.default.parallelism": "3"}}

        _, answered = await w.start_and_look(EngineConfiguration=asked)

        assert answered == "CREATING"


async def test_more_starts_than_may_run_at_once_wait_and_all_come_up(tmp_path: Path) -> None:
    async with world(tmp_path, starts_at_once=1) as w:
        w.launcher.knobs.never_ready = True
        first, second, third = [await w.start() for _ in range(3)]
        assert w.launcher.alive == 1

        w.launcher.knobs.never_ready = False
        await w.terminate(first)
        for _ in range(4):
            await w.advance(0.5)

        assert [await w.state(session_id) for session_id in (second, third)] == ["IDLE", "IDLE"]


async def test_whoever_waits_for_a_turn_is_woken_when_it_comes(tmp_path: Path) -> None:
    """Not only at its next look: with many that wait, these are rare."""
    async with world(tmp_path, starts_at_once=1) as w:
        w.launcher.knobs.never_ready = True
        first, *others = [await w.start() for _ in range(6)]
        w.launcher.knobs.never_ready = False

        await w.terminate(first)

        assert [await w.state(session_id) for session_id in others] == ["IDLE"] * 5


async def test_a_session_that_waited_for_a_place_still_has_its_whole_time_to_start(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, starts_at_once=1) as w:
        w.launcher.knobs.never_ready = True
        first, second = await w.start(), await w.start()
        await w.advance(180)
        await w.advance(1)
        assert await w.state(first) == "FAILED"

        await w.advance(100)

        assert await w.state(second) == "CREATING"
        assert w.launcher.alive == 1


async def test_one_session_too_many_is_refused_and_there_is_room_again_after_an_end(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, limits=Limits(account=Quota(sessions=2))) as w:
        first, _ = await w.start(), await w.start()

        with pytest.raises(TooManyRequests, match="Maximum allowed sessions"):
            await w.start()

        await w.terminate(first)
        assert await w.state(await w.start()) == "IDLE"


async def test_a_repeated_request_finds_its_session_even_when_the_account_is_full(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, limits=Limits(account=Quota(sessions=1))) as w:
        token = {"ClientRequestToken": "t" * 32}
        session_id = await w.start(**token)

        assert await w.start_and_look(**token) == (session_id, "IDLE")
        with pytest.raises(InvalidRequest, match="Idempotent parameters do not match"):
            await w.start(**token, Description="other")


@pytest.mark.parametrize("code", [None, "hang"])
async def test_a_server_that_stops_ends_its_sessions(tmp_path: Path, code: str | None) -> None:
    async with world(tmp_path, pool=1) as w:
        session_id = await w.start()
        if code is not None:
            await w.calculate(session_id, code)

        await w.stop()

        session = await w.session(session_id)
        assert session.state == "TERMINATED"
        assert session.reason == "Session was terminated per request [SERVER] The server stopped."
        assert w.launcher.alive == 0
        await w.restart()


async def test_a_server_that_stops_may_leave_its_sessions_running(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        session_id = await w.start()

        await w.stop(keep_sessions=True)

        assert await w.state(session_id) == "IDLE"
        assert w.launcher.alive == 1
        await w.restart()
        assert await w.state(session_id) == "IDLE"


async def test_a_server_that_stops_in_the_middle_of_a_launch_leaves_no_driver(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id, _ = await w.start_and_look()

        await w.stop()

        assert await w.state(session_id) == "TERMINATED"
        assert w.launcher.alive == 0
        await w.restart()


async def test_nothing_is_remembered_of_the_links_of_sessions_that_have_ended(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        driver_ids = []
        for _ in range(3):
            session_id = await w.start()
            driver_ids.append((await w.driver(session_id)).id)
            await w.terminate(session_id)

        assert [w.links.silent_since(driver_id) for driver_id in driver_ids] == [None] * 3


async def test_a_property_asked_for_replaces_the_workgroups_default_under_another_spelling(
    tmp_path: Path,
) -> None:
    new = "spark.sql.parquet.datetimeRebaseModeInRead"
    old = "spark.sql.legacy.parquet.datetimeRebaseModeInRead"
    async with world(tmp_path) as w:
        defaults = {"EngineConfiguration": {"SparkProperties": {f" {old}": "LEGACY"}}}
        await w.call("UpdateWorkGroup", WorkGroup="spark", ConfigurationUpdates=defaults)

        session_id = await w.start(EngineConfiguration={"SparkProperties": {new: "CORRECTED"}})

        assert await w.state(session_id) == "IDLE"
        assert (await w.session(session_id)).spark_properties == {new: "CORRECTED"}

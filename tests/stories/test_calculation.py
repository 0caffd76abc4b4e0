"""The lives of calculations."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.builders import make_calculation
from tests.stories.world import world

from sparkowl.domain.calculation import State
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import SessionId
from sparkowl.domain.session import Event
from sparkowl.store import calculations, sessions
from sparkowl.store.engine import open_database


async def test_a_calculation_runs_and_its_outputs_are_there(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        calculation_id = await w.calculate(session_id, "print(1)")

        calculation = await w.calculation(calculation_id)
        assert (calculation.state, calculation.reason) == ("COMPLETED", None)
        assert w.outputs(calculation)["stdout"] == b"print(1)"
        assert await w.state(session_id) == "IDLE"


async def test_a_failing_block_leaves_the_session_usable(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        failed = await w.calculation(await w.calculate(session_id, "fail NameError: x"))
        then = await w.calculation(await w.calculate(session_id, "1"))

        assert (failed.state, failed.reason) == ("FAILED", "NameError: x")
        assert w.outputs(failed)["stderr"] == b"NameError: x"
        assert then.state == "COMPLETED"


async def test_a_second_calculation_is_refused_while_one_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.calculate(session_id, "hang")

        with pytest.raises(InvalidRequest) as refusal:
            await w.calculate(session_id, "1")

        assert str(refusal.value) == (
            "Session is in the BUSY state; needs to be IDLE to accept Calculations."
        )


async def test_a_session_that_is_being_created_takes_no_calculation(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        session_id = await w.start()

        with pytest.raises(InvalidRequest, match=r"^Session is in the CREATING state; needs"):
            await w.calculate(session_id, "1")


@pytest.mark.parametrize("end", ["TERMINATED", "FAILED"])
async def test_a_session_that_has_ended_takes_no_calculation(tmp_path: Path, end: str) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        if end == "TERMINATED":
            await w.terminate(session_id)
        else:
            await w.launcher.kill((await w.driver(session_id)).id)
            await w.settle()

        with pytest.raises(InvalidRequest, match=f"^Session is in the {end} state; needs"):
            await w.calculate(session_id, "1")


async def test_a_calculation_given_to_a_created_session_waits_and_then_runs(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        session_id, answered = await w.start_and_look()
        assert answered == "CREATED"

        calculation_id = await w.calculate(session_id, "1")

        assert (await w.calculation(calculation_id)).state == "COMPLETED"
        assert await w.state(session_id) == "IDLE"


async def test_a_stopped_calculation_is_canceled_and_the_session_is_idle(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")

        assert await w.stop_calculation(calculation_id) == "CANCELING"

        calculation = await w.calculation(calculation_id)
        assert calculation.state == "CANCELED"
        assert calculation.reason
        assert await w.state(session_id) == "IDLE"
        assert (await w.calculation(await w.calculate(session_id, "1"))).state == "COMPLETED"


async def test_stopping_twice_and_stopping_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "1")
        before = await w.calculation(calculation_id)

        assert await w.stop_calculation(calculation_id) == "COMPLETED"
        assert await w.stop_calculation(calculation_id) == "COMPLETED"

        assert await w.calculation(calculation_id) == before


async def test_a_calculation_stopped_before_it_was_handed_over_never_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_adopts = True
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "print(1)")
        assert (await w.calculation(calculation_id)).state == "CREATING"
        await w.stop_calculation(calculation_id)

        w.launcher.knobs.never_adopts = False
        await w.cut((await w.driver(session_id)).id)
        w.launcher.reconnect((await w.driver(session_id)).id)
        await w.settle()

        calculation = await w.calculation(calculation_id)
        assert calculation.state == "CANCELED"
        assert calculation.started_at is None
        assert w.outputs(calculation)["stdout"] == b""
        assert await w.state(session_id) == "IDLE"


async def test_a_stop_that_follows_at_once_is_not_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        started = await w.call("StartCalculationExecution", SessionId=session_id, CodeBlock="hang")
        await w.stop_calculation(started["CalculationExecutionId"])

        assert (await w.calculation(started["CalculationExecutionId"])).state == "CANCELED"
        assert await w.state(session_id) == "IDLE"


async def test_terminating_the_session_cancels_its_calculation(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")

        await w.terminate(session_id)
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/{calculation_id}/stdout"))
        await w.settle()

        calculation = await w.calculation(calculation_id)
        assert calculation.state == "CANCELED"
        assert calculation.reason == (
            "Calculation was canceled because its session was terminated. [USER]"
        )


async def test_a_calculation_goes_on_while_its_link_is_broken(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        driver_id = (await w.driver(session_id)).id

        await w.cut(driver_id)
        await w.advance(20)
        degraded = await w.state(session_id)
        await w.stop_calculation(calculation_id)
        w.launcher.reconnect(driver_id)
        await w.settle()

        assert degraded == "DEGRADED"
        assert (await w.calculation(calculation_id)).state == "CANCELED"
        assert await w.state(session_id) == "IDLE"
        assert await w.history(session_id) == [
            "CREATING", "CREATED", "IDLE", "BUSY", "DEGRADED", "BUSY", "IDLE",
        ]  # fmt: skip


async def test_a_calculation_whose_outputs_have_no_place_fails_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first = await w.calculate(session_id, "1")
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/start.json"))
        (w.files.root / "results").rename(w.files.root / "elsewhere")

        calculation_id = await w.calculate(session_id, "1")
        calculation = await w.calculation(calculation_id)
        (w.files.root / "elsewhere").rename(w.files.root / "results")

        assert calculation.state == "FAILED"
        assert (calculation.reason or "").startswith("Its output location cannot be used: ")
        assert await w.state(session_id) == "IDLE"
        assert (await w.calculation(first)).state == "COMPLETED"
        # Nothing can be written where there is no bucket; the check at the end wants the three.
        for name in ("stdout", "stderr", "result.json"):
            w.files.put_bytes("results", f"{session_id}/{calculation_id}/{name}", b"")


async def test_a_repeated_request_finds_its_calculation_while_it_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        request = {"SessionId": session_id, "CodeBlock": "hang", "ClientRequestToken": "t" * 32}
        first = await w.call("StartCalculationExecution", **request)
        await w.settle()

        again = await w.call("StartCalculationExecution", **request)

        assert again == {
            "CalculationExecutionId": first["CalculationExecutionId"],
            "State": "RUNNING",
        }


async def test_an_agent_that_does_not_cancel_loses_its_driver(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_cancels = True
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        assert await w.stop_calculation(calculation_id) == "CANCELING"
        await w.advance(59)
        assert (await w.calculation(calculation_id)).state == "CANCELING"

        await w.advance(16)

        calculation, session = await w.calculation(calculation_id), await w.session(session_id)
        assert (calculation.state, session.state) == ("CANCELED", "FAILED")
        assert calculation.reason == "Calculation was canceled per request."
        assert "[CRASH] Its agent did not stop a block within 60 s." in (session.reason or "")
        assert w.launcher.alive == 0


async def test_a_calculation_that_is_asked_for_while_its_session_is_looked_at_is_seen(
    tmp_path: Path,
) -> None:
    """Else its session would be BUSY with nothing, and be taken for IDLE."""
    async with world(tmp_path) as w:
        session_id = await w.start()
        asked = make_calculation(
            session_id=session_id,
            state=State.CREATING,
            code="hang",
            output_location=f"s3://results/{session_id}/1",
            started_at=None,
        )

        def ask() -> None:
            database = open_database(w.database)
            with database.engine.connect() as tx:
                tx.exec_driver_sql(database.begin)
                calculations.insert_calculation(tx, asked)
                sessions.change(tx, session_id, Event.WORK_STARTED, at=w.clock.now())
                tx.exec_driver_sql("COMMIT")
                tx.commit()

        w.gate.meanwhile = ask
        w.supervisor.wake(SessionId(session_id))
        await w.settle()
        w.supervisor.wake(SessionId(session_id))
        await w.settle()

        assert await w.state(session_id) == "BUSY"
        assert (await w.calculation(asked.id)).state == "RUNNING"
        await w.stop_calculation(asked.id)
        assert await w.state(session_id) == "IDLE"

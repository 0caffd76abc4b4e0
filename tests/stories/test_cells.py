"""Cells of a session's page: they are calculations, and wait for each other."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.stories.world import World, of_session, world

from sparkowl.agent import messages
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import new_calculation_id
from sparkowl.store import calculations, sessions, tables
from sparkowl.supervisor import facts


async def path(w: World, calculation_id: str) -> list[str]:
    rows = await w.store.read(lambda tx: calculations.history(tx, calculation_id))
    return [row.to_state for row in rows]


async def states(w: World, *calculation_ids: str) -> list[str]:
    return [str((await w.calculation(each)).state) for each in calculation_ids]


async def all_of(w: World, session_id: str) -> list[Calculation]:
    return await w.store.read(partial(of_session, session_id=session_id))


async def finish(w: World, session_id: str) -> None:
    """What hangs in the session comes to a good end."""
    w.launcher.complete((await w.driver(session_id)).id)
    await w.settle()


def waiting(w: World) -> list[str]:
    """The cells that pages wait for, of all drivers."""
    return [cell for driver in w.launcher.living for cell in w.launcher.waiting_cells(driver)]


async def test_a_cell_is_a_calculation_and_makes_its_session_busy_and_idle(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        cell = await w.run_cell(session_id, "print(1)")

        got = await w.call("GetCalculationExecution", CalculationExecutionId=cell)
        assert got["Status"]["State"] == "COMPLETED"
        assert got["Description"] == "Calculation started via Jupyter notebook"
        assert got["SessionId"] == session_id
        assert got["Result"]["StdOutS3Uri"] == f"s3://results/{session_id}/{cell}/stdout"
        code = await w.call("GetCalculationExecutionCode", CalculationExecutionId=cell)
        assert code["CodeBlock"] == "print(1)"
        assert w.outputs(await w.calculation(cell))["stdout"] == b"print(1)"
        assert await path(w, cell) == ["CREATING", "RUNNING", "COMPLETED"]
        assert (await w.history(session_id))[-3:] == ["IDLE", "BUSY", "IDLE"]


async def test_cells_run_one_after_the_other_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        cells = [await w.run_cell(session_id, "hang") for _ in range(4)]
        assert await states(w, *cells) == ["RUNNING", "QUEUED", "QUEUED", "QUEUED"]

        await finish(w, session_id)
        after_one = await states(w, *cells)
        for _ in range(3):
            assert await w.state(session_id) == "BUSY"
            await finish(w, session_id)

        assert after_one == ["COMPLETED", "RUNNING", "QUEUED", "QUEUED"]
        assert await states(w, *cells) == ["COMPLETED"] * 4
        assert await path(w, cells[1]) == ["CREATING", "QUEUED", "RUNNING", "COMPLETED"]
        assert (await w.history(session_id))[-3:] == ["IDLE", "BUSY", "IDLE"]
        listed = await w.call("ListCalculationExecutions", SessionId=session_id)
        assert [c["CalculationExecutionId"] for c in listed["Calculations"]] == cells[::-1]


async def test_a_failed_cell_makes_room_for_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first = await w.run_cell(session_id, "hang")
        failing = await w.run_cell(session_id, "fail NameError: x")
        last = await w.run_cell(session_id, "2")

        await finish(w, session_id)

        assert await states(w, first, failing, last) == ["COMPLETED", "FAILED", "COMPLETED"]
        assert (await w.calculation(failing)).reason == "NameError: x"
        assert await w.state(session_id) == "IDLE"


async def test_a_calculation_of_the_api_is_refused_while_a_cell_runs_or_waits(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.run_cell(session_id, "hang")
        await w.run_cell(session_id, "hang")

        for _ in range(2):
            with pytest.raises(InvalidRequest, match=r"^Session is in the BUSY state; needs"):
                await w.calculate(session_id, "1")
            await finish(w, session_id)

        calculation = await w.calculation(await w.calculate(session_id, "1"))
        assert calculation.state == "COMPLETED"


async def test_a_cell_waits_for_a_calculation_of_the_api(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        calculation_id = await w.calculate(session_id, "hang")
        cell = await w.run_cell(session_id, "1")
        assert await states(w, calculation_id, cell) == ["RUNNING", "QUEUED"]

        await finish(w, session_id)

        assert await states(w, calculation_id, cell) == ["COMPLETED", "COMPLETED"]


async def test_a_cell_that_comes_just_after_a_calculation_was_accepted_waits(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id

        asked = await w.call("StartCalculationExecution", SessionId=session_id, CodeBlock="hang")
        cell = await w.run_cell(session_id, "1")

        assert w.launcher.cells(driver_id) == [cell]
        assert await states(w, asked["CalculationExecutionId"], cell) == ["RUNNING", "QUEUED"]
        await finish(w, session_id)
        assert await states(w, cell) == ["COMPLETED"]


async def test_a_waiting_cell_can_be_stopped_and_the_one_that_runs_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first, second, third = [await w.run_cell(session_id, "hang") for _ in range(3)]

        assert await w.stop_calculation(second) == "CANCELING"

        assert await states(w, first, second, third) == ["RUNNING", "CANCELING", "QUEUED"]
        # The page knows at once; its calculation ends when its turn comes.
        assert waiting(w) == [first, third]
        await finish(w, session_id)
        assert await states(w, first, second, third) == ["COMPLETED", "CANCELED", "RUNNING"]
        stopped = await w.calculation(second)
        assert (stopped.reason, stopped.started_at) == (
            "Calculation was canceled per request.",
            None,
        )


async def test_the_running_and_a_waiting_cell_are_stopped_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first, second, third = [await w.run_cell(session_id, "hang") for _ in range(3)]

        for each in (third, first):
            await w.call("StopCalculationExecution", CalculationExecutionId=each)
        await w.settle()

        assert await states(w, first, second, third) == ["CANCELED", "RUNNING", "CANCELING"]
        await finish(w, session_id)
        assert await states(w, third) == ["CANCELED"]


async def test_an_agent_has_time_to_end_a_stopped_cell_from_when_its_turn_comes(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_cancels = True
        session_id = await w.start()
        first, second = [await w.run_cell(session_id, "hang") for _ in range(2)]
        await w.stop_calculation(second)
        await w.advance(300)
        assert await states(w, first, second) == ["RUNNING", "CANCELING"]

        await finish(w, session_id)
        await w.advance(59)
        in_time = await states(w, first, second)
        await w.advance(16)

        assert in_time == ["COMPLETED", "CANCELING"]
        assert await states(w, first, second) == ["COMPLETED", "CANCELED"]
        assert await w.state(session_id) == "FAILED"


async def test_a_restart_in_the_page_cancels_all_and_is_noted(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        cells = [await w.run_cell(session_id, "hang") for _ in range(3)]
        driver_id = (await w.driver(session_id)).id
        key = f"{session_id}/start.json"
        await w.until(lambda tx: w.files.exists("results", key))

        w.launcher.restart(driver_id)
        await w.settle()

        assert await states(w, *cells) == ["CANCELED"] * 3
        assert await w.state(session_id) == "IDLE"
        [at] = (await w.session(session_id)).timeline["restarted"]
        assert at == w.clock.now().timestamp()
        assert json.loads(w.files.read_bytes("results", key))["restarted"] == [at]
        assert await states(w, await w.run_cell(session_id, "1")) == ["COMPLETED"]


async def test_ending_the_session_ends_all_of_its_cells(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        cells = [await w.run_cell(session_id, "hang") for _ in range(3)]

        await w.terminate(session_id)
        await w.until(lambda tx: calculations.active(tx, session_id) is None)
        await w.settle()

        ended = await all_of(w, session_id)
        assert [c.state for c in ended] == ["CANCELED"] * 3
        assert {c.reason for c in ended} == {
            "Calculation was canceled because its session was terminated. [USER]"
        }
        assert sorted(c.id for c in ended) == sorted(cells)


async def test_a_driver_that_dies_takes_all_of_its_cells_along(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        cells = [await w.run_cell(session_id, "hang") for _ in range(3)]
        await w.call("StopCalculationExecution", CalculationExecutionId=cells[1])

        await w.launcher.kill((await w.driver(session_id)).id)
        await w.advance(1)
        await w.until(lambda tx: calculations.active(tx, session_id) is None)

        assert await states(w, *cells) == ["FAILED", "CANCELED", "FAILED"]
        assert (await w.calculation(cells[2])).reason == (await w.session(session_id)).reason


async def test_cells_go_on_while_their_link_is_broken_and_come_in_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first = await w.run_cell(session_id, "hang")
        driver_id = (await w.driver(session_id)).id
        await w.cut(driver_id)
        await w.advance(20)
        degraded = await w.state(session_id)
        second = await w.run_cell(session_id, "2")
        unheard = [c.id for c in await all_of(w, session_id)]

        w.launcher.reconnect(driver_id)
        await w.settle()

        assert (degraded, unheard) == ("DEGRADED", [first])
        assert await states(w, first, second) == ["RUNNING", "QUEUED"]
        assert await w.state(session_id) == "BUSY"
        await finish(w, session_id)
        assert await states(w, first, second) == ["COMPLETED", "COMPLETED"]


async def test_a_cell_brings_a_degraded_session_with_nothing_to_do_back_as_busy(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        await w.cut(driver_id)
        await w.advance(20)
        cell = await w.run_cell(session_id, "hang")

        w.launcher.reconnect(driver_id)
        await w.settle()

        assert await states(w, cell) == ["RUNNING"]
        assert await w.state(session_id) == "BUSY"


async def test_a_cell_that_comes_while_its_session_is_taken_for_idle_is_seen(
    tmp_path: Path,
) -> None:
    """A cell that waits changes nothing in its session's row, so no version tells of it."""
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        await w.cut(driver_id)
        await w.advance(20)
        assert await w.state(session_id) == "DEGRADED"
        cell = new_calculation_id()

        told = messages.Cell(seq=99, calculation_id=cell, code="hang", at=0.0)
        now = w.clock.now()

        w.gate.before = lambda tx: facts.take(tx, driver_id, told, now)
        w.launcher.reconnect(driver_id)
        await w.settle()

        assert w.gate.before is None
        assert await states(w, cell) == ["RUNNING"]
        assert await w.state(session_id) == "BUSY"


async def test_a_cell_that_comes_while_its_session_fails_has_its_outputs(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        first, second = await w.run_cell(session_id, "hang"), new_calculation_id()
        told = messages.Cell(seq=99, calculation_id=second, code="2", at=0.0)
        now = w.clock.now()

        w.gate.before = lambda tx: facts.take(tx, driver_id, told, now)
        await w.launcher.kill(driver_id)
        await w.advance(1)
        await w.until(lambda tx: calculations.active(tx, session_id) is None)

        assert await states(w, first, second) == ["FAILED", "FAILED"]


async def test_what_an_agent_tells_twice_is_one_cell(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        cell = await w.run_cell(session_id, "1")
        driver_id = (await w.driver(session_id)).id
        told = messages.encode(messages.Cell(seq=1, calculation_id=cell, code="2", at=0.0))
        before = await all_of(w, session_id)
        w.launcher.leave(driver_id, told)

        await w.launcher.kill(driver_id)
        await w.advance(1)

        assert await w.state(session_id) == "FAILED"
        assert await all_of(w, session_id) == before


async def test_a_cell_that_its_driver_left_behind_ends_with_its_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        await w.cut(driver_id)
        cell = await w.run_cell(session_id, "1")

        await w.launcher.kill(driver_id)
        await w.advance(1)
        await w.until(lambda tx: sessions.get(tx, session_id).state == "FAILED")

        assert await states(w, cell) == ["FAILED"]


async def test_a_cell_of_a_session_that_is_ending_is_no_calculation(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        await w.cut(driver_id)
        await w.run_cell(session_id, "1")

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"
        assert await all_of(w, session_id) == []


@pytest.mark.parametrize("calculation_id", ["", "../../etc", "A" * 100])
async def test_a_cell_whose_id_cannot_be_is_not_taken(tmp_path: Path, calculation_id: str) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        driver_id = (await w.driver(session_id)).id
        told = messages.Cell(seq=1, calculation_id=calculation_id, code="1", at=0.0)

        await w.store.write(lambda tx: facts.take(tx, driver_id, told, w.clock.now()))

        assert await all_of(w, session_id) == []
        assert await w.state(session_id) == "IDLE"


async def test_a_driver_that_is_no_sessions_has_no_cells_and_no_restarts(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [driver] = await w.waiting()

        w.launcher.run_cell(driver.id, "1")
        w.launcher.restart(driver.id)
        await w.settle()

        assert await w.store.read(lambda tx: tx.execute(select(tables.calculations)).all()) == []


@pytest.mark.parametrize("behind", [False, True])
async def test_in_a_disabled_workgroup_a_cell_fails_and_says_why(
    tmp_path: Path, behind: bool
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        if behind:
            await w.run_cell(session_id, "hang")
        await w.call("UpdateWorkGroup", WorkGroup="spark", State="DISABLED")

        cell = await w.calculation(await w.run_cell(session_id, "1"))

        assert cell.reason == "WorkGroup spark is disabled."
        assert cell.state == ("CANCELING" if behind else "FAILED")
        assert cell.id not in waiting(w)
        await finish(w, session_id)
        ended = await w.calculation(cell.id)
        assert (ended.state, ended.reason) == ("FAILED", cell.reason)
        assert await w.state(session_id) == "IDLE"


async def test_a_cell_that_is_too_long_fails_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        cell = await w.calculation(await w.run_cell(session_id, "#" * (1024 * 1024 + 1)))

        assert (cell.state, len(cell.code)) == ("FAILED", 1024 * 1024)
        assert cell.reason == "A cell has at most 1048576 characters."
        assert waiting(w) == []


async def test_a_cell_whose_outputs_have_no_place_fails_and_its_page_does_not_wait(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.until(lambda tx: w.files.exists("results", f"{session_id}/start.json"))
        (w.files.root / "results").rename(w.files.root / "elsewhere")

        cells = [await w.run_cell(session_id, "1") for _ in range(2)]
        (w.files.root / "elsewhere").rename(w.files.root / "results")

        assert await states(w, *cells) == ["FAILED", "FAILED"]
        assert waiting(w) == []
        assert await w.state(session_id) == "IDLE"
        for cell in cells:
            for name in ("stdout", "stderr", "result.json"):
                w.files.put_bytes("results", f"{session_id}/{cell}/{name}", b"")


async def test_a_new_server_goes_on_with_what_waits(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        first, second, third = [await w.run_cell(session_id, "hang") for _ in range(3)]
        await w.call("StopCalculationExecution", CalculationExecutionId=second)

        await w.crash()
        await w.restart()

        assert await states(w, first, second, third) == ["RUNNING", "CANCELING", "QUEUED"]
        assert waiting(w) == [first, third]
        await finish(w, session_id)
        assert await states(w, second, third) == ["CANCELED", "RUNNING"]

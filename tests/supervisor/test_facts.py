"""What a driver reports, and what of it is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.builders import AT, LATER, make_calculation, make_driver, make_session

from sparkowl.agent.messages import Cell, Ended, Executor, Progress, Report, Restarted, Started
from sparkowl.domain import calculation as domain
from sparkowl.domain import session as session_domain
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.driver import Driver
from sparkowl.domain.executor import Fate, Worker
from sparkowl.domain.session import Session
from sparkowl.store import Store, calculations, drivers, executors, sessions
from sparkowl.supervisor import facts

#: A driver's clock ten seconds, and twenty, after the calculation was submitted.
TEN, TWENTY = (AT + timedelta(seconds=10)).timestamp(), (AT + timedelta(seconds=20)).timestamp()


async def after(tmp_path: Path, *reports: Report) -> tuple[Session, Calculation]:
    """A busy session and its calculation after the reports of its driver, all taken at LATER."""
    store = Store.open(tmp_path / "facts.db")
    session = make_session(state=session_domain.State.BUSY, idle_since=None)
    calculation = make_calculation(
        id="c", session_id=session.id, state=domain.State.CREATED, started_at=None
    )
    driver = make_driver(session_id=session.id)

    def write(tx: Connection) -> None:
        sessions.insert_session(tx, session)
        calculations.insert_calculation(tx, calculation)
        drivers.insert_driver(tx, driver)

    await store.write(write)
    for report in reports:
        await store.write(partial(_take, driver.id, report))
    found = await store.read(lambda tx: (sessions.get(tx, session.id), calculations.get(tx, "c")))
    store.close()
    return found


def _take(driver_id: str, report: Report, tx: Connection) -> None:
    facts.take(tx, driver_id, report, LATER)


async def test_a_short_block_tells_its_start_with_its_end(tmp_path: Path) -> None:
    ended = Ended(
        seq=1, calculation_id="c", outcome="completed", reason="", at=TWENTY, began_at=TEN
    )

    session, calculation = await after(tmp_path, ended)

    assert calculation.state is domain.State.COMPLETED
    assert calculation.started_at == AT + timedelta(seconds=10)
    assert calculation.completed_at == AT + timedelta(seconds=20)
    assert session.state is session_domain.State.IDLE


async def test_a_fact_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    started = Started(seq=1, calculation_id="c", at=TEN)
    ended = Ended(seq=2, calculation_id="c", outcome="failed", reason="why", at=TWENTY)

    _, once = await after(tmp_path, started, ended)
    (tmp_path / "again").mkdir()
    _, twice = await after(tmp_path / "again", started, ended, started, ended)

    assert replace(twice, session_id=once.session_id) == once
    assert once.reason == "why"


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        (0.0, AT),
        (-1e300, AT),
        (TWENTY, AT + timedelta(seconds=20)),
        (1e300, LATER),
        (float("nan"), LATER),
        (float("inf"), LATER),
    ],
)
async def test_a_drivers_clock_is_believed_within_what_is_possible(
    tmp_path: Path, told: float, believed: datetime
) -> None:
    _, calculation = await after(tmp_path, Started(seq=1, calculation_id="c", at=told))

    assert calculation.started_at == believed


async def test_a_driver_cannot_report_on_the_calculation_of_another(tmp_path: Path) -> None:
    stranger = Ended(seq=1, calculation_id="d", outcome="completed", reason="", at=TEN)

    session, calculation = await after(tmp_path, stranger, Progress(calculation_id="d", percent=5))

    assert calculation.state is domain.State.CREATED
    assert session.state is session_domain.State.BUSY


# --- executors ---------------------------------------------------------------------------------


async def workers_after(tmp_path: Path, driver: Driver, *reports: Executor) -> list[Worker]:
    """The workers of a driver after its reports, all taken at LATER."""
    store = Store.open(tmp_path / "workers.db")
    await store.write(partial(drivers.insert_driver, driver=driver))
    for report in reports:
        await store.write(partial(_take, driver.id, report))
    found = await store.read(
        lambda tx: executors.list_page(tx, driver.id, frozenset(Fate), after=None, limit=99)
    )
    store.close()
    return list(found)


def seen(**members: Any) -> Executor:
    right: dict[str, Any] = {"seq": 1, "executor_id": "0", "cores": 4, "started_at": TEN}
    return Executor(**(right | members))


async def test_an_executor_that_is_reported_becomes_a_worker(tmp_path: Path) -> None:
    driver = make_driver()

    [worker] = await workers_after(tmp_path, driver, seen())

    assert worker == Worker(
        driver_id=driver.id, executor_id="0", cores=4, started_at=AT + timedelta(seconds=10)
    )


@pytest.mark.parametrize(
    ("reason", "fate"), [("Executor killed by driver.", Fate.ENDED), ("Worker lost", Fate.FAILED)]
)
async def test_how_an_executor_ended_follows_from_sparks_reason(
    tmp_path: Path, reason: str, fate: Fate
) -> None:
    end = seen(ended_at=TWENTY, reason=reason)

    [worker] = await workers_after(tmp_path, make_driver(), seen(), end, end)

    assert (worker.fate, worker.ended_at) == (fate, AT + timedelta(seconds=20))


@pytest.mark.parametrize(
    ("members", "lived"),
    [
        ({"started_at": 0.0}, (AT, None)),
        ({"started_at": -1e300, "ended_at": 1e300}, (AT, LATER)),
        ({"started_at": float("nan")}, (LATER, None)),
        ({"started_at": TWENTY, "ended_at": TEN}, (AT + timedelta(seconds=20),) * 2),
    ],
)
async def test_an_executor_lives_within_what_is_possible(
    tmp_path: Path, members: dict[str, float], lived: tuple[datetime, datetime | None]
) -> None:
    [worker] = await workers_after(tmp_path, make_driver(), seen(**members))

    assert (worker.started_at, worker.ended_at) == lived


async def test_what_is_told_after_the_drivers_end_lived_no_longer_than_it(tmp_path: Path) -> None:
    end = AT + timedelta(seconds=15)
    driver = make_driver(ended_at=end)
    late = seen(executor_id="1", started_at=TWENTY, ended_at=TWENTY, reason="Worker lost")

    workers = await workers_after(tmp_path, driver, seen(), late)

    assert [worker.ended_at for worker in workers] == [end, end]


@pytest.mark.parametrize(("told", "believed"), [(-5, 1), (0, 1), (10**30, 10_000)])
async def test_cores_are_believed_within_reason(tmp_path: Path, told: int, believed: int) -> None:
    [worker] = await workers_after(tmp_path, make_driver(), seen(cores=told))

    assert worker.cores == believed


async def test_an_id_that_is_none_of_sparks_is_left_out(tmp_path: Path) -> None:
    assert await workers_after(tmp_path, make_driver(), seen(executor_id="x" * 65)) == []


# --- cells of the page -------------------------------------------------------------------------

FIRST, SECOND = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


async def cells_after(tmp_path: Path, *reports: Report) -> list[Calculation]:
    """The unfinished calculations of the busy session of :func:`after`, oldest first."""
    session, _ = await after(tmp_path, *reports)
    store = Store.open(tmp_path / "facts.db")
    found = await store.read(lambda tx: calculations.unfinished(tx, session.id))
    store.close()
    return list(found)


async def test_cells_are_in_the_order_in_which_they_came_whatever_they_tell(
    tmp_path: Path,
) -> None:
    """The second tells of a time before the first, as after somebody set the driver's clock."""
    first = Cell(seq=1, calculation_id=FIRST, code="1", at=TWENTY)
    second = Cell(seq=2, calculation_id=SECOND, code="2", at=TEN)

    found = await cells_after(tmp_path, first, second)

    assert [c.id for c in found] == ["c", FIRST, SECOND]
    assert [c.submitted_at - AT for c in found] == [
        timedelta(0),
        timedelta(seconds=20),
        timedelta(seconds=20, microseconds=1),
    ]
    assert [c.state for c in found[1:]] == ["QUEUED", "QUEUED"]


@pytest.mark.parametrize(
    ("told", "believed"),
    [(0.0, AT + timedelta(microseconds=1)), (1e12, LATER), (float("nan"), LATER)],
)
async def test_a_cell_was_submitted_within_what_is_possible(
    tmp_path: Path, told: float, believed: datetime
) -> None:
    _, cell = await cells_after(tmp_path, Cell(seq=1, calculation_id=FIRST, code="1", at=told))

    assert cell.submitted_at == believed


async def test_a_cell_that_is_told_twice_is_one_and_keeps_its_first_code(tmp_path: Path) -> None:
    first = Cell(seq=1, calculation_id=FIRST, code="1", at=TEN)
    again = Cell(seq=2, calculation_id=FIRST, code="2", at=TWENTY)

    found = await cells_after(tmp_path, first, again)

    assert [c.code for c in found] == ["1 + 1", "1"]


async def test_a_session_is_busy_until_its_last_calculation_has_ended(tmp_path: Path) -> None:
    cell = Cell(seq=1, calculation_id=FIRST, code="1", at=TEN)
    ends = [
        Ended(seq=2, calculation_id=which, outcome="completed", reason="", at=TWENTY)
        for which in ("c", FIRST)
    ]

    busy, _ = await after(tmp_path, cell, ends[0])
    (tmp_path / "facts.db").unlink()
    idle, _ = await after(tmp_path, cell, *ends)

    assert (busy.state, idle.state) == ("BUSY", "IDLE")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("The kernel was restarted.", "The kernel was restarted."),
        ("", "Calculation was canceled per request."),
    ],
)
async def test_why_an_agent_canceled_something_is_kept(tmp_path: Path, told: str, why: str) -> None:
    ended = Ended(seq=1, calculation_id="c", outcome="canceled", reason=told, at=TEN)

    _, calculation = await after(tmp_path, ended)

    assert (calculation.state, calculation.reason) == ("CANCELED", why)


async def test_restarts_are_noted_once_each_and_the_last_ones_kept(tmp_path: Path) -> None:
    times = [TEN + n for n in range(25)]
    restarts = [Restarted(seq=n, at=at) for n, at in enumerate([*times, times[-1]])]

    session, _ = await after(tmp_path, *restarts)

    assert session.timeline["restarted"] == times[-20:]

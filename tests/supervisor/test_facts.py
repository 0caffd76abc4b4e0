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

from sparkowl.agent.messages import Ended, Executor, Progress, Report, Started
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

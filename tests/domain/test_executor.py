"""Executors: how they look, in every situation of their session and their driver."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from tests.builders import AT, LATER, make_driver, make_session

from sparkowl.domain import executor as domain
from sparkowl.domain import session as sessions
from sparkowl.domain.driver import Driver
from sparkowl.domain.executor import Fate, State, Worker
from sparkowl.domain.session import Session
from sparkowl.protocol import model

DRIVERS = {
    "not launched": make_driver(handle=None, adopted_at=None),
    "launched": make_driver(adopted_at=None),
    "adopted": make_driver(),
    "ended": make_driver(ended_at=LATER),
}
#: A session that has not ended, by its driver: its coordinator, and a worker that lives.
LIVE = {
    "not launched": ("CREATING", "CREATED"),
    "launched": ("CREATED", "CREATED"),
    "adopted": ("REGISTERED", "REGISTERED"),
    "ended": ("TERMINATED", "TERMINATED"),
}
EVERY = list(product(sessions.State, DRIVERS))


def session_in(state: sessions.State) -> Session:
    return make_session(state=state, ended_at=LATER if state in sessions.TERMINAL else None)


def worker_of(driver: Driver, fate: Fate) -> Worker:
    return Worker(
        driver_id=driver.id,
        executor_id="3",
        cores=2,
        started_at=AT,
        ended_at=None if fate is Fate.LIVES else AT + timedelta(seconds=30),
        failed=fate is Fate.FAILED,
    )


def expected(state: sessions.State, driver: str) -> tuple[str, str]:
    if state is sessions.State.FAILED:
        return "FAILED", "TERMINATED"
    if state is sessions.State.TERMINATED or driver == "ended":
        return "TERMINATED", "TERMINATED"
    if state is sessions.State.TERMINATING:
        return "TERMINATING", "TERMINATING"
    return LIVE[driver]


@pytest.mark.parametrize(("state", "driver"), EVERY)
def test_the_states_follow_the_session_and_the_driver(state: sessions.State, driver: str) -> None:
    session, its = session_in(state), DRIVERS[driver]

    shown = domain.coordinator(session, its)
    workers = {fate: domain.worker(session, its, worker_of(its, fate)) for fate in Fate}

    assert (shown.state, workers[Fate.LIVES].state) == expected(state, driver)
    assert workers[Fate.FAILED].state is State.FAILED
    assert workers[Fate.ENDED].state is State.TERMINATED


@pytest.mark.parametrize(("state", "driver"), EVERY)
def test_no_worker_outlives_its_driver(state: sessions.State, driver: str) -> None:
    session, its = session_in(state), DRIVERS[driver]
    over = {State.TERMINATED, State.FAILED}

    coordinator = domain.coordinator(session, its)
    for fate in Fate:
        worker = domain.worker(session, its, worker_of(its, fate))
        if coordinator.ended_at is not None:
            assert worker.ended_at is not None
            assert worker.ended_at <= coordinator.ended_at
        if coordinator.state in over:
            assert worker.state in over
        assert (worker.ended_at is not None) == (worker.state in over)


@pytest.mark.parametrize(("state", "driver"), EVERY)
def test_a_filter_picks_exactly_the_workers_in_that_state(
    state: sessions.State, driver: str
) -> None:
    session, its = session_in(state), DRIVERS[driver]

    for asked in (None, *State):
        picked = domain.fates_in(session, its, asked)
        for fate in Fate:
            shown = domain.worker(session, its, worker_of(its, fate))
            assert (fate in picked) == (asked in {None, shown.state})


def test_an_end_that_is_told_too_late_is_the_drivers_end() -> None:
    driver = DRIVERS["ended"]
    late = Worker(
        driver_id=driver.id,
        executor_id="0",
        cores=1,
        started_at=AT,
        ended_at=LATER + timedelta(hours=1),
    )

    assert domain.worker(make_session(), driver, late).ended_at == LATER


def test_a_workers_id_is_a_uuid_and_stays_the_same() -> None:
    driver, other = make_driver(), make_driver()
    ids = [
        domain.worker(make_session(), its, worker_of(its, fate)).id
        for its in (driver, other)
        for fate in Fate
    ]

    assert len(set(ids)) == 2
    assert all(len(one) == 36 for one in ids)
    assert domain.coordinator(make_session(), driver).id == driver.id


@pytest.mark.parametrize(("cores", "dpus"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_four_cores_are_a_dpu_and_less_is_one_too(cores: int, dpus: int) -> None:
    assert domain.dpus(cores) == dpus


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("Executor killed by driver.", False),
        ("Executor decommission: spark scale down", False),
        ("Command exited with code 137", True),
        ("Executor heartbeat timed out after 125000 ms", True),
        ("Remote RPC client disassociated.", True),
        ("", True),
    ],
)
def test_an_end_that_nobody_wanted_is_a_failure(reason: str, failure: bool) -> None:
    assert domain.is_failure(reason) is failure


def test_the_states_of_executors_are_exactly_athenas() -> None:
    assert {str(state) for state in State} == set(
        model.service().shape_for("ExecutorState").metadata["enum"]
    )

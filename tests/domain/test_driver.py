"""Drivers, and how they look as executors."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.builders import AT, make_driver, make_session

from sparkowl.domain import executor
from sparkowl.domain import session as sessions
from sparkowl.domain.driver import expired, fingerprint
from sparkowl.protocol import model


def test_the_fingerprint_knows_the_engine_and_the_properties_but_not_their_order() -> None:
    one = fingerprint("E", {"a": "1", "b": "2"})

    assert fingerprint("E", {"b": "2", "a": "1"}) == one
    assert len({one, fingerprint("F", {"a": "1", "b": "2"}), fingerprint("E", {"a": "1"})}) == 3
    assert fingerprint("E", {"a": "1, b"}) != fingerprint("E", {"a, 1": "b"})


def test_a_waiting_driver_grows_old_and_one_that_is_taken_does_not() -> None:
    age = timedelta(hours=1)
    waiting = make_driver(session_id=None)

    assert not expired(waiting, age, AT + age - timedelta(seconds=1))
    assert expired(waiting, age, AT + age)
    assert not expired(make_driver(), age, AT + age)


@pytest.mark.parametrize(
    ("session", "driver", "state"),
    [
        ("CREATING", make_driver(handle=None, adopted_at=None), "CREATING"),
        ("CREATED", make_driver(adopted_at=None), "CREATED"),
        ("IDLE", make_driver(), "REGISTERED"),
        ("BUSY", make_driver(), "REGISTERED"),
        ("TERMINATING", make_driver(), "TERMINATING"),
        ("TERMINATED", make_driver(ended_at=AT), "TERMINATED"),
        ("FAILED", make_driver(ended_at=AT), "FAILED"),
    ],
)
def test_the_coordinators_state_follows_session_and_driver(
    session: str, driver: object, state: str
) -> None:
    assert isinstance(driver, type(make_driver()))

    shown = executor.coordinator(make_session(state=sessions.State(session)), driver)

    assert (shown.state, shown.type, shown.dpus) == (state, "COORDINATOR", 1)


def test_the_states_of_executors_are_exactly_athenas() -> None:
    assert {str(state) for state in executor.State} == set(
        model.service().shape_for("ExecutorState").metadata["enum"]
    )

"""The session's table over every state and event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from tests.builders import AT, LATER, make_calculation, make_session

from sparkowl.domain.calculation import Event as CalculationEvent
from sparkowl.domain.calculation import State as CalculationState
from sparkowl.domain.errors import IllegalTransition, InvalidRequest
from sparkowl.domain.reason import TERMINATED, UNHEALTHY
from sparkowl.domain.session import (
    ACTIVE,
    REASON_LENGTH,
    TERMINAL,
    TRANSITIONS,
    Event,
    Session,
    State,
    apply,
    created_warm,
    how_canceled,
    how_ended,
    require_room,
    stops_at,
)
from sparkowl.protocol import model

# Written out once more, apart from the code: one row an event, one column a state in the order
# CREATING CREATED IDLE BUSY DEGRADED. "-" is a bug, "=" changes nothing, "younger" only the idle
# time. TERMINATING and the terminal states take every event and stay, but for DRIVER_GONE.
EXPECTED = """
DRIVER_READY    CREATED     -           -           -           -
ADOPTED         -           IDLE        =           =           =
START_FAILED    FAILED      FAILED      -           FAILED      -
WORK_STARTED    -           BUSY        BUSY        -           -
WORK_ENDED      -           -           =           IDLE        =
EXTENDED        =           =           younger     =           =
IDLE_TIMED_OUT  -           -           TERMINATING -           -
TERMINATE_ASKED TERMINATING TERMINATING TERMINATING TERMINATING TERMINATING
AGENT_SILENT    -           -           DEGRADED    DEGRADED    -
AGENT_BACK      -           -           -           -           IDLE
AGENT_BACK_BUSY -           -           -           -           BUSY
DRIVER_LOST     FAILED      FAILED      FAILED      FAILED      FAILED
DRIVER_GONE     -           -           -           -           -
"""
COLUMNS = (State.CREATING, State.CREATED, State.IDLE, State.BUSY, State.DEGRADED)


def expected(state: State, event: Event) -> State | None:
    """What the event makes of the state; None: it cannot happen there."""
    if state in TERMINAL:
        return state
    if state is State.TERMINATING:
        return State.TERMINATED if event is Event.DRIVER_GONE else state
    rows = {row.split()[0]: row.split()[1:] for row in EXPECTED.strip().splitlines()}
    cell = rows[event][COLUMNS.index(state)]
    same = {"=", "younger"}
    return None if cell == "-" else state if cell in same else State(cell)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_event_in_every_state_does_what_the_table_says(state: State, event: Event) -> None:
    session = make_session(state=state)
    to = expected(state, event)

    if to is None:
        with pytest.raises(IllegalTransition, match=f"{event} in {state}"):
            apply(session, event, at=LATER)
    elif (state, event) == (State.IDLE, Event.EXTENDED):
        assert apply(session, event, at=LATER) == replace(
            session, idle_since=LATER, modified_at=LATER, version=session.version + 1
        )
    elif to is state:
        assert apply(session, event, at=LATER) is session
    else:
        changed = apply(session, event, at=LATER, reason="why")
        assert (changed.state, changed.modified_at) == (to, LATER)
        assert changed.reason == ("why" + pointer(session) if to is State.FAILED else "why")
        assert changed.version == session.version + 1


def pointer(session: Session) -> str:
    """What the reason of a failed session ends with."""
    return f" Diagnose it with: sparkowl sessions diagnose {session.id}"


def test_a_session_that_failed_without_a_reason_has_one() -> None:
    failed = apply(make_session(), Event.DRIVER_LOST, at=AT)

    assert failed.reason == f"{UNHEALTHY} [CRASH]" + pointer(failed)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_leaves_a_terminal_state_and_everything_may_still_be_heard(state: State) -> None:
    assert dict(TRANSITIONS[state]) == dict.fromkeys(Event, state)


@pytest.mark.parametrize("state", State)
def test_terminate_may_be_asked_in_every_state(state: State) -> None:
    assert Event.TERMINATE_ASKED in TRANSITIONS[state]


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, before = {State.CREATING}, set[State]()

    while reached != before:
        before = set(reached)
        reached |= {to for state in before for to in TRANSITIONS[state].values()}

    assert reached == set(State)


def test_the_states_are_exactly_athenas() -> None:
    assert {str(state) for state in State} == set(
        model.service().shape_for("SessionState").metadata["enum"]
    )
    assert State.TERMINATING not in ACTIVE
    assert not ACTIVE & TERMINAL


def test_times_follow_the_state() -> None:
    creating = make_session(state=State.CREATING, active_at=None, idle_since=None)

    created = apply(creating, Event.DRIVER_READY, at=AT)
    idle = apply(created, Event.ADOPTED, at=LATER)
    busy = apply(idle, Event.WORK_STARTED, at=LATER)
    failed = apply(busy, Event.DRIVER_LOST, at=LATER, reason="gone")

    assert (created.active_at, created.idle_since) == (AT, None)
    assert (idle.active_at, idle.idle_since) == (AT, LATER)
    assert (busy.idle_since, busy.ended_at) == (None, None)
    assert (failed.active_at, failed.idle_since, failed.ended_at) == (AT, None, LATER)


def test_a_warm_session_is_active_from_its_first_moment() -> None:
    session = created_warm(make_session(state=State.CREATING, active_at=None), at=AT)

    assert (session.state, session.active_at) == (State.CREATED, AT)


def test_a_session_that_recovered_no_longer_says_that_it_is_unhealthy() -> None:
    degraded = apply(make_session(), Event.AGENT_SILENT, at=AT, reason=UNHEALTHY)

    recovered = apply(degraded, Event.AGENT_BACK, at=LATER)

    assert degraded.reason == UNHEALTHY
    assert recovered.reason is None


def test_a_terminated_session_keeps_the_reason_of_its_termination() -> None:
    ending = apply(make_session(), Event.TERMINATE_ASKED, at=AT, reason=TERMINATED)

    ended = apply(ending, Event.DRIVER_GONE, at=LATER)

    assert ended.reason == TERMINATED


def test_a_reason_is_cut_to_what_the_model_allows() -> None:
    failed = apply(make_session(), Event.DRIVER_LOST, at=AT, reason="x" * 5000)

    assert failed.reason is not None
    assert failed.reason.endswith("x" + pointer(failed))
    assert len(failed.reason) == REASON_LENGTH
    assert model.service().shape_for("DescriptionString").metadata["max"] == REASON_LENGTH


@pytest.mark.parametrize("state", State)
def test_only_an_idle_or_a_created_session_takes_a_calculation(state: State) -> None:
    session = make_session(state=state)

    if state in {State.CREATED, State.IDLE}:
        require_room(session)
    else:
        with pytest.raises(InvalidRequest) as refusal:
            require_room(session)
        assert str(refusal.value) == (
            f"Session is in the {state} state; needs to be IDLE to accept Calculations."
        )


@pytest.mark.parametrize("state", State)
def test_only_an_idle_session_is_about_to_stop(state: State) -> None:
    session = apply_to(state)

    assert stops_at(session) == (AT + session.idle_timeout if state is State.IDLE else None)


def apply_to(state: State) -> Session:
    return make_session(state=state, idle_since=AT if state is State.IDLE else None)


@pytest.mark.parametrize("state", [State.BUSY, State.TERMINATING, State.TERMINATED, State.FAILED])
@pytest.mark.parametrize("how", [how_canceled, how_ended])
def test_a_calculation_that_must_not_run_fails_for_that_reason_however_it_ends(
    state: State, how: Callable[..., tuple[CalculationEvent, str]]
) -> None:
    session = make_session(state=state, idle_since=None, reason=TERMINATED)
    refused = make_calculation(state=CalculationState.CANCELING, reason="Too long.")

    assert how(session, refused) == (CalculationEvent.FAILED, "Too long.")


def test_spark_properties_are_collected_from_both_places_that_athena_knows() -> None:
    configuration = {
        "Classifications": [{"Name": "spark-defaults", "Properties": {"spark.a": "1"}}],
        "SparkProperties": {"spark.a": "2", "spark.b": "3"},
    }
    session = make_session(request={"EngineConfiguration": configuration})

    assert session.spark_properties == {"spark.a": "2", "spark.b": "3"}

"""The calculation's table over every state and event."""

from __future__ import annotations

from itertools import product

import pytest
from tests.builders import AT, LATER, make_calculation

from sparkowl.domain.calculation import RESULT_TYPE, TERMINAL, TRANSITIONS, Event, State, apply
from sparkowl.domain.errors import IllegalTransition
from sparkowl.protocol import model

# Written out once more, apart from the code: one row a state that has not ended, one column an
# event. "=" changes nothing.
EVENTS = ("SUBMITTED", "QUEUED", "STARTED", "CANCEL_ASKED")
EXPECTED = {
    "CREATING": ("CREATED", "QUEUED", "RUNNING", "CANCELING"),
    "CREATED": ("=", "QUEUED", "RUNNING", "CANCELING"),
    "QUEUED": ("=", "=", "RUNNING", "CANCELING"),
    "RUNNING": ("=", "=", "=", "CANCELING"),
    "CANCELING": ("=", "=", "=", "="),
}


def expected(state: State, event: Event) -> State:
    if state in TERMINAL:
        return state
    if event not in EVENTS:
        return State(event)
    cell = EXPECTED[state][EVENTS.index(event)]
    return state if cell == "=" else State(cell)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_event_in_every_state_does_what_the_table_says(state: State, event: Event) -> None:
    calculation = make_calculation(state=state)
    to = expected(state, event)

    changed = apply(calculation, event, at=LATER)

    assert changed.state is to
    assert (changed is calculation) == (to is state)
    assert changed.version == calculation.version + (to is not state)


def test_every_state_has_a_row_and_no_event_is_impossible() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(set(row) == set(Event) for row in TRANSITIONS.values())


def test_nothing_leaves_a_terminal_state() -> None:
    assert all(set(TRANSITIONS[state].values()) == {state} for state in TERMINAL)


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, before = {State.CREATING}, set[State]()

    while reached != before:
        before = set(reached)
        reached |= {to for state in before for to in TRANSITIONS[state].values()}

    assert reached == set(State)


def test_the_states_are_exactly_athenas() -> None:
    assert {str(state) for state in State} == set(
        model.service().shape_for("CalculationExecutionState").metadata["enum"]
    )


def test_the_result_type_is_one_that_the_model_allows() -> None:
    pattern = model.pattern_of(model.service().shape_for("CalculationResultType"))

    assert pattern is not None
    assert pattern.fullmatch(RESULT_TYPE)


def test_an_event_that_is_no_event_is_a_bug() -> None:
    with pytest.raises(IllegalTransition):
        apply(make_calculation(), "EXPLODED", at=AT)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("event", [Event.FAILED, Event.CANCELED])
def test_a_bad_end_has_its_reason_and_never_none(event: Event) -> None:
    explained = apply(make_calculation(), event, at=AT, reason="x" * 5000)
    unexplained = apply(make_calculation(), event, at=AT)

    assert explained.reason == "x" * 1024
    assert unexplained.reason


def test_why_it_will_fail_may_be_known_while_it_is_still_being_canceled() -> None:
    refused = apply(make_calculation(), Event.CANCEL_ASKED, at=AT, reason="Too long.")
    asked = apply(make_calculation(), Event.CANCEL_ASKED, at=AT)

    assert (refused.reason, asked.reason) == ("Too long.", None)
    assert apply(refused, Event.COMPLETED, at=AT).reason is None


def test_a_good_end_has_no_reason_since_clients_take_one_for_an_error() -> None:
    completed = apply(make_calculation(progress=40), Event.COMPLETED, at=LATER, reason="fine")

    assert (completed.reason, completed.progress, completed.completed_at) == (None, 100, LATER)


def test_a_calculation_counts_its_time_from_its_start() -> None:
    created = make_calculation(state=State.CREATED, started_at=None)

    running = apply(created, Event.STARTED, at=LATER)
    canceling = apply(running, Event.CANCEL_ASKED, at=LATER)

    assert (running.started_at, canceling.started_at) == (LATER, LATER)
    assert canceling.completed_at is None


def test_each_output_is_an_object_below_the_calculations_folder() -> None:
    calculation = make_calculation(output_location="s3://b/p/session/calculation")

    assert calculation.output("stdout") == "s3://b/p/session/calculation/stdout"

"""How a cell of the page becomes a calculation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.builders import AT, LATER, make_session

from sparkowl.domain import cell
from sparkowl.domain.calculation import State
from sparkowl.domain.ids import CalculationId, new_calculation_id
from sparkowl.domain.session import Event
from sparkowl.domain.session import State as SessionState

ID = CalculationId("00000000-0000-4000-8000-00000000000a")
TAKES = {
    SessionState.CREATED: Event.WORK_STARTED,
    SessionState.IDLE: Event.WORK_STARTED,
    SessionState.BUSY: None,
    SessionState.DEGRADED: None,
}


@pytest.mark.parametrize("state", SessionState)
def test_a_session_that_is_there_takes_a_cell_and_no_other(state: SessionState) -> None:
    session = make_session(state=state)

    assert cell.has_page(session) == (state in TAKES)
    if state in TAKES:
        assert cell.arrival(session) == TAKES[state]


def test_a_cell_looks_like_athenas_own() -> None:
    session = make_session()

    made = cell.calculation_of(session, ID, "1 + 1", told_at=AT, latest=None)

    assert (made.id, made.session_id, made.state) == (ID, session.id, State.CREATING)
    assert (made.code, made.submitted_at) == ("1 + 1", AT)
    assert made.description == "Calculation started via Jupyter notebook"
    assert made.output_location == f"s3://results/{session.id}/{ID}"


def test_a_cell_comes_after_all_that_came_before_whatever_its_agents_clock_says() -> None:
    session = make_session()

    def submitted(latest: object) -> object:
        return cell.calculation_of(session, ID, "", told_at=AT, latest=latest).submitted_at  # type: ignore[arg-type]  # both are times

    assert submitted(AT - timedelta(seconds=1)) == AT
    assert submitted(AT) == AT + timedelta(microseconds=1)
    assert submitted(LATER) == LATER + timedelta(microseconds=1)


def test_a_cell_of_more_than_a_mebibyte_is_not_run_and_kept_in_part() -> None:
    longest, longer = "x" * 1_048_576, "x" * 1_048_577

    assert cell.too_long(longest) is None
    assert cell.too_long(longer) == ("A cell has at most 1048576 characters.")
    assert cell.calculation_of(make_session(), ID, longer, told_at=AT, latest=None).code == longest


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (new_calculation_id(), True),
        (ID, True),
        (ID.upper(), False),
        ("", False),
        (ID + "\n", False),
        ("../" + ID[3:], False),
        (ID.replace("-", ""), False),
    ],
)
def test_an_agents_id_is_a_lower_case_uuid(text: str, may: bool) -> None:
    assert cell.is_id(text) is may

"""Budgets: periods, standings, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain.budget import Budget, Period, Standing
from sparkowl.domain.errors import TooManyRequests

BUDGET = Budget(work_group="spark", dpu_hours=10, period=Period.DAY, stop_at=1.2)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "moment", "since", "until"),
    [
        ("day", "2026-01-31T12:00", "2026-01-31", "2026-02-01"),
        ("day", "2026-01-31T00:00", "2026-01-31", "2026-02-01"),
        ("day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
        ("month", "2026-01-31T12:00", "2026-01-01", "2026-02-01"),
        ("month", "2026-02-01T00:00", "2026-02-01", "2026-03-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        ("month", "2026-12-31T12:00", "2026-12-01", "2027-01-01"),
    ],
)
def test_periods_begin_at_midnight(period: str, moment: str, since: str, until: str) -> None:
    assert Period(period).bounds(at(moment)) == (at(since), at(until))


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year < 9999))
def test_every_moment_lies_in_its_period_and_the_next_one_follows(moment: datetime) -> None:
    for period in Period:
        since, until = period.bounds(moment)
        assert since <= moment < until
        assert period.bounds(until)[0] == until
        assert period.bounds(since) == (since, until)


def test_another_time_zone_is_the_same_moment() -> None:
    early = datetime(2026, 2, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    assert Period.DAY.bounds(early)[0] == at("2026-01-31")


@pytest.mark.parametrize(
    ("hours", "standing"),
    [
        (0, "OK"),
        (7.99, "OK"),
        (8, "WARN"),
        (9.99, "WARN"),
        (10, "REFUSE"),
        (11.99, "REFUSE"),
        (12, "STOP"),
        (1e6, "STOP"),
    ],
)
def test_the_standing_follows_what_was_used(hours: float, standing: str) -> None:
    assert BUDGET.standing(timedelta(hours=hours)) == standing


def test_without_a_stop_nothing_is_stopped() -> None:
    budget = Budget(work_group="spark", dpu_hours=10, period=Period.DAY)

    assert budget.standing(timedelta(hours=1000)) is Standing.REFUSE


def test_a_session_is_refused_once_the_budget_is_used_up() -> None:
    BUDGET.allow_session(timedelta(hours=9.9), NOON)

    for hours in (10.25, 99.0):
        with pytest.raises(TooManyRequests) as error:
            BUDGET.allow_session(timedelta(hours=hours), NOON)
        assert str(error.value) == (
            f"The budget of workgroup spark is used up: {hours:.2f} of 10 DPU-hours of this day. "
            "Sessions start again at 2026-02-01T00:00:00Z."
        )


def test_the_reason_of_an_ended_session_holds_no_word_of_a_state() -> None:
    budget = Budget(work_group="FAILED", dpu_hours=0.5, period=Period.MONTH, stop_at=1)

    reason = budget.stop_reason(timedelta(minutes=45), NOON)

    assert reason == (
        "The budget of its workgroup is used up: 0.75 of 0.5 DPU-hours of this month. "
        "Sessions start again at 2026-02-01T00:00:00Z."
    )
    assert not {"TERMINATED", "DEGRADED", "FAILED"} & set(reason.split())

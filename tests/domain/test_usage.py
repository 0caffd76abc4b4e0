"""DPU time: of one session, and of many by group and by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import AT

from sparkowl.domain.executor import Worker
from sparkowl.domain.ids import DriverId
from sparkowl.domain.usage import DAY, TAG, Use, dpu_millis, groups_by, tally, used

HOUR = 3_600 * 1_000_000
#: 2026-01-01T00:00Z, in microseconds since the epoch.
NEW_YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def worker(since: float, until: float | None, cores: int = 4) -> Worker:
    return Worker(
        driver_id=DriverId("d"),
        executor_id="0",
        cores=cores,
        started_at=after(since),
        ended_at=None if until is None else after(until),
    )


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_dpu_time_is_the_running_time_and_never_nothing(elapsed: timedelta) -> None:
    millis = dpu_millis(AT, AT + elapsed, [])

    assert millis >= 1
    assert abs(millis - elapsed / timedelta(milliseconds=1)) <= 1


def test_what_never_ran_used_no_dpu() -> None:
    assert dpu_millis(None, AT, []) == 0


@pytest.mark.parametrize(
    ("lived", "seconds"),
    [
        (worker(2, 5), 3),
        (worker(2, 5, cores=8), 6),
        (worker(2, None), 8),
        (worker(-5, 5), 5),
        (worker(5, 50), 5),
        (worker(-5, None), 10),
        (worker(-9, -3), 0),
        (worker(20, 30), 0),
    ],
)
def test_a_worker_counts_for_its_time_within_the_sessions(lived: Worker, seconds: int) -> None:
    assert used(AT, after(10), [lived]) == timedelta(seconds=10 + seconds)
    assert used(AT, after(10), [lived, lived]) == timedelta(seconds=10 + 2 * seconds)


def use(
    since_h: float, until_h: float, *group: str | None, dpus: int = 1, sessions: int = 1
) -> Use:
    """A use by its hours since new year."""
    times = (NEW_YEAR + int(since_h * HOUR), NEW_YEAR + int(until_h * HOUR))
    return Use(group, *times, dpus, sessions)


def test_groups_are_summed_up_and_sorted() -> None:
    uses = [use(0, 1, "b", "x"), use(2, 4, "a", None), use(0, 3, "b", "x"), use(0, 1, "b", None)]

    totals = tally(uses, ["workgroup", "principal"])

    assert [(group, t.sessions, t.dpu_hours) for group, t in totals.items()] == [
        (("a", None), 1, 2.0),
        (("b", None), 1, 1.0),
        (("b", "x"), 2, 4.0),
    ]


def test_a_worker_adds_time_and_no_session() -> None:
    totals = tally([use(0, 2, "a"), use(0, 1, "a", dpus=3, sessions=0)], ["workgroup"])

    assert (totals["a",].sessions, totals["a",].dpu_hours) == (1, 5.0)


def test_what_spans_days_is_cut_at_midnight_and_counts_in_each() -> None:
    totals = tally([use(23, 49, "a", None), use(24, 25, "a", None)], ["workgroup", DAY])

    assert [(group[1], t.sessions, t.dpu_hours) for group, t in totals.items()] == [
        ("2026-01-01", 1, 1.0),
        ("2026-01-02", 2, 25.0),
        ("2026-01-03", 1, 1.0),
    ]


def test_a_session_that_ends_at_midnight_was_not_there_the_next_day() -> None:
    assert list(tally([use(20, 24, None)], [DAY])) == [("2026-01-01",)]


@given(st.lists(st.tuples(st.floats(-9e3, 9e3), st.floats(0, 2e3), st.integers(1, 4))))
def test_days_add_up_to_the_whole(spans: list[tuple[float, float, int]]) -> None:
    uses = [use(begin, begin + hours, None, dpus=dpus) for begin, hours, dpus in spans]

    by_day = sum(total.dpu_micros for total in tally(uses, [DAY]).values())
    together = sum(total.dpu_micros for total in tally(uses, ["workgroup"]).values())

    assert by_day == together


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("workgroup", True),
        ("day", True),
        ("principal", True),
        ("tag:team", True),
        ("tag:a:b", True),
        (TAG, False),
        ("team", False),
        ("", False),
    ],
)
def test_what_usage_is_grouped_by(name: str, may: bool) -> None:
    assert groups_by(name) is may

"""DPU arithmetic and the limits of an account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import AT

from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.ids import SessionId
from sparkowl.domain.limits import Limits, Quota, Use, Waiting, dpu_millis


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_dpu_time_is_the_running_time_and_never_nothing(elapsed: timedelta) -> None:
    millis = dpu_millis(AT, AT + elapsed)

    assert millis >= 1
    assert abs(millis - elapsed / timedelta(milliseconds=1)) <= 1


def test_what_never_ran_used_no_dpu() -> None:
    assert dpu_millis(None, AT) == 0


def test_more_dpus_use_more() -> None:
    assert dpu_millis(AT, AT + timedelta(seconds=2), dpus=3) == 6000


def test_a_session_of_the_largest_size_is_allowed_and_a_larger_one_is_the_callers_mistake() -> None:
    limits = Limits(session_dpus=60)

    limits.require_size(60)
    with pytest.raises(InvalidRequest, match=r"is 61; a session may use at most 60 DPUs"):
        limits.require_size(61)


#: Quotas, what is in use by workgroup, and why one more in ``etl`` does not fit.
CASES: list[tuple[dict[str, Any], dict[str, Use], str | None]] = [
    ({"account": Quota()}, {"etl": Use(sessions=500, dpus=900)}, None),
    ({"account": Quota(sessions=2)}, {"etl": Use(sessions=1, dpus=1)}, None),
    (
        {"account": Quota(sessions=2)},
        {"etl": Use(sessions=1, dpus=1), "ml": Use(sessions=1, dpus=1)},
        "Maximum allowed sessions reached: 2",
    ),
    ({"account": Quota(dpus=3)}, {"ml": Use(sessions=1, dpus=2)}, None),
    (
        {"account": Quota(dpus=3)},
        {"ml": Use(sessions=1, dpus=3)},
        "Maximum concurrent DPUs reached: 3",
    ),
    ({"work_group": Quota(sessions=1)}, {"ml": Use(sessions=1, dpus=1)}, None),
    (
        {"work_group": Quota(sessions=1)},
        {"etl": Use(sessions=1, dpus=1)},
        "Maximum allowed sessions reached: 1 in WorkGroup etl",
    ),
    (
        {"work_group": Quota(dpus=4)},
        {"etl": Use(sessions=1, dpus=4)},
        "Maximum concurrent DPUs reached: 4 in WorkGroup etl",
    ),
    # A workgroup's own quota stands instead of the general one.
    (
        {"work_group": Quota(sessions=1), "by_work_group": {"etl": Quota(sessions=3)}},
        {"etl": Use(sessions=2, dpus=2)},
        None,
    ),
    (
        {"work_group": Quota(sessions=9), "by_work_group": {"etl": Quota(sessions=1)}},
        {"etl": Use(sessions=1, dpus=1)},
        "Maximum allowed sessions reached: 1 in WorkGroup etl",
    ),
]


@pytest.mark.parametrize(("quotas", "in_use", "why"), CASES)
def test_one_more_session_fits_or_the_limit_is_named_in_the_words_that_clients_look_for(
    quotas: dict[str, Any], in_use: dict[str, Use], why: str | None
) -> None:
    assert Limits(**quotas).full("etl", in_use) == why


def line(*work_groups: str) -> list[Waiting]:
    return [Waiting(SessionId(str(n)), name) for n, name in enumerate(work_groups)]


def test_the_longest_waiting_session_has_its_turn_first() -> None:
    assert Limits().next_in_line(line("etl", "ml"), {}) == "0"


def test_a_full_workgroup_holds_up_nobody_elses() -> None:
    limits = Limits(by_work_group={"etl": Quota(sessions=1)})
    busy = {"etl": Use(sessions=1, dpus=1)}

    assert limits.next_in_line(line("etl", "etl", "ml"), busy) == "2"


def test_nobody_has_a_turn_while_the_account_is_full() -> None:
    limits = Limits(account=Quota(sessions=1))

    assert limits.next_in_line(line("etl"), {"ml": Use(sessions=1, dpus=1)}) is None
    assert limits.next_in_line([], {}) is None


def test_the_queue_has_an_end() -> None:
    limits = Limits(queue_length=2)

    limits.require_place(1)
    with pytest.raises(TooManyRequests, match="Maximum allowed sessions reached, and 2 more wait"):
        limits.require_place(2)

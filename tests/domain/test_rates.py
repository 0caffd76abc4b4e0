"""How often a key may call: the token buckets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import AT

from sparkowl.domain.errors import Throttled
from sparkowl.domain.rates import MAX_BUCKETS, Rate, Rates


def answered(rates: Rates, operation: str, *, after_s: float = 0.0, tries: int = 1) -> int:
    """How many of so many calls at one moment are let through."""
    count = 0
    for _ in range(tries):
        try:
            rates.take("key", operation, AT + timedelta(seconds=after_s))
        except Throttled as refusal:
            assert str(refusal) == "Rate exceeded"  # noqa: PT017  the words are AWS's
        else:
            count += 1
    return count


def test_a_burst_is_let_through_and_then_as_many_as_the_rate_allows() -> None:
    rates = Rates(writes=Rate(2, 5))

    assert answered(rates, "StartSession", tries=10) == 5
    assert answered(rates, "StartSession", after_s=1, tries=10) == 2
    assert answered(rates, "StartSession", after_s=1.5, tries=10) == 1
    # A long pause fills the bucket, and no further.
    assert answered(rates, "StartSession", after_s=3600, tries=10) == 5


def test_each_key_and_each_operation_has_its_own() -> None:
    rates = Rates(writes=Rate(1, 1), reads=Rate(1, 3))
    rates.take("key", "StartSession", AT)

    rates.take("other", "StartSession", AT)
    rates.take("key", "TerminateSession", AT)
    assert answered(rates, "GetSession", tries=5) == 3
    with pytest.raises(Throttled):
        rates.take("key", "StartSession", AT)


def test_single_operations_may_have_another_rate_and_0_is_none() -> None:
    rates = Rates(
        reads=Rate(0, 1), by_operation={"StartSession": Rate(1, 2), "GetSession": Rate(1, 1)}
    )

    assert answered(rates, "StartSession", tries=9) == 2
    assert answered(rates, "GetSession", tries=9) == 1
    assert answered(rates, "ListSessions", tries=900) == 900


def test_a_clock_that_is_set_back_neither_gives_nor_takes() -> None:
    rates = Rates(writes=Rate(1, 2))
    rates.take("key", "StartSession", AT)

    assert answered(rates, "StartSession", after_s=-3600, tries=3) == 1
    assert answered(rates, "StartSession", after_s=-3599, tries=3) == 1


def test_the_buckets_kept_are_bounded() -> None:
    rates = Rates(writes=Rate(1, 1))

    for number in range(MAX_BUCKETS + 1):
        rates.take(f"key{number}", "StartSession", AT)

    rates.take("key0", "StartSession", AT)
    with pytest.raises(Throttled):
        rates.take(f"key{MAX_BUCKETS}", "StartSession", AT)


@given(
    st.floats(0.1, 100),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_what_time_gave(
    per_s: float, burst: int, pauses: list[float]
) -> None:
    rates = Rates(writes=Rate(per_s, burst))
    now = 0.0
    let_through = 0

    for pause in pauses:
        now += pause
        let_through += answered(rates, "StartSession", after_s=now, tries=3)
        assert let_through <= burst + now * per_s + 0.01

"""DPU arithmetic and the limits of an account."""

from __future__ import annotations

import pytest

from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.limits import Limits


def test_a_session_of_the_largest_size_is_allowed_and_a_larger_one_is_the_callers_mistake() -> None:
    limits = Limits(session_dpus=60)

    limits.allow_session(60, live_sessions=0)
    with pytest.raises(InvalidRequest, match=r"is 61; a session may use at most 60 DPUs"):
        limits.allow_session(61, live_sessions=0)


def test_one_session_too_many_is_refused_in_the_words_that_clients_look_for() -> None:
    limits = Limits(sessions=2)

    limits.allow_session(2, live_sessions=1)
    with pytest.raises(TooManyRequests, match="Maximum allowed sessions"):
        limits.allow_session(2, live_sessions=2)


def test_the_accounts_dpus_are_a_limit_too() -> None:
    limits = Limits(sessions=100, account_dpus=3)

    limits.allow_session(2, live_sessions=2)
    with pytest.raises(TooManyRequests, match="Maximum concurrent DPUs reached: 3"):
        limits.allow_session(2, live_sessions=3)

"""The states of an access key."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.builders import AT

from sparkowl.domain.access_key import (
    MAX_OVERLAP,
    TRANSITIONS,
    AccessKey,
    Event,
    KeyRefusal,
    State,
    apply,
    created,
    replaced,
)

HOUR = timedelta(hours=1)


def key(state: State = State.ACTIVE, expires_in: timedelta | None = None) -> AccessKey:
    made = created("AKIA", "alice", AT)
    return replace(made, state=state, expires_at=None if expires_in is None else AT + expires_in)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_event_in_every_state(state: State, event: Event) -> None:
    then = TRANSITIONS[state][event]

    if then is None:
        with pytest.raises(KeyRefusal, match="disabled"):
            apply(key(state), event, AT)
    else:
        assert apply(key(state), event, AT) == key(then)


@pytest.mark.parametrize(
    ("state", "expires_in", "usable"),
    [
        (State.ACTIVE, None, True),
        (State.ACTIVE, HOUR, True),
        (State.ACTIVE, timedelta(0), False),
        (State.ACTIVE, -HOUR, False),
        (State.DISABLED, None, False),
        (State.DISABLED, HOUR, False),
    ],
)
def test_only_an_active_key_that_is_not_over_is_usable(
    state: State, expires_in: timedelta | None, usable: bool
) -> None:
    assert key(state, expires_in).usable(AT) is usable


def test_an_expired_key_can_be_disabled_and_nothing_else() -> None:
    over = key(expires_in=-HOUR)

    assert apply(over, Event.DISABLE, AT).state is State.DISABLED
    for event in (Event.ENABLE, Event.REPLACE):
        with pytest.raises(KeyRefusal, match="expired"):
            apply(over, event, AT)


def test_a_replaced_key_ends_at_once_or_after_the_time_it_is_kept() -> None:
    assert replaced(key(), AT, timedelta(0)).state is State.DISABLED
    kept = replaced(key(), AT, HOUR)
    assert kept.usable(AT + HOUR / 2)
    assert not kept.usable(AT + HOUR)


def test_replacing_a_key_again_does_not_make_it_live_longer() -> None:
    assert replaced(key(expires_in=HOUR), AT, 5 * HOUR).expires_at == AT + HOUR


@pytest.mark.parametrize("keep", [-HOUR, MAX_OVERLAP + HOUR])
def test_a_key_is_not_kept_for_any_time(keep: timedelta) -> None:
    with pytest.raises(KeyRefusal, match="0 to 168 hours"):
        replaced(key(), AT, keep)


def test_a_disabled_key_cannot_be_replaced() -> None:
    with pytest.raises(KeyRefusal, match="Enable it first"):
        replaced(key(State.DISABLED), AT, HOUR)

"""Tokens of links and visits: what passes, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain.visits import LONGEST, Pass, Purpose, new_pass, seal, unseal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=10)
KEY = b"k" * 32
SESSION = "0a0a0a0a-0000-4000-8000-000000000001"
OTHER = "0a0a0a0a-0000-4000-8000-000000000002"


def link(session_id: str = SESSION, until: datetime = UNTIL) -> str:
    return seal(KEY, Purpose.LINK, new_pass(session_id, "anna", until))


def opened(token: str, session_id: str = SESSION, now: datetime = NOW) -> Pass | None:
    return unseal(KEY, Purpose.LINK, token, session_id, now)


def test_a_token_says_what_was_put_in() -> None:
    found = opened(link())

    assert found is not None
    assert (found.session_id, found.principal, found.expires_at) == (SESSION, "anna", UNTIL)


def test_a_token_ends_at_its_time_and_not_before() -> None:
    token = link()

    assert opened(token, now=UNTIL - timedelta(seconds=1)) is not None
    assert opened(token, now=UNTIL) is None


def test_a_token_opens_its_own_session_only() -> None:
    assert opened(link(), OTHER) is None
    assert opened(link(OTHER)) is None


def test_a_link_is_no_visit_and_a_visit_no_link() -> None:
    visit = seal(KEY, Purpose.VISIT, new_pass(SESSION, "anna", UNTIL))

    assert opened(visit) is None
    assert unseal(KEY, Purpose.VISIT, link(), SESSION, NOW) is None
    assert unseal(KEY, Purpose.VISIT, visit, SESSION, NOW) is not None


def test_a_token_of_another_key_is_none() -> None:
    assert unseal(b"x" * 32, Purpose.LINK, link(), SESSION, NOW) is None


def test_two_tokens_that_say_the_same_are_two() -> None:
    assert link() != link()


def test_a_token_is_as_short_as_athena_promises_for_the_longest_name() -> None:
    assert len(seal(KEY, Purpose.LINK, new_pass(SESSION, "n" * 64, UNTIL))) <= LONGEST


@given(st.data())
def test_a_token_that_was_changed_anywhere_opens_nothing(data: st.DataObject) -> None:
    token = link()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[at]))

    assert opened(token[:at] + other + token[at + 1 :]) is None


@pytest.mark.parametrize("form", ["{}=", "{}A", " {}", "{}\n", "{}{}", "{:.20}"])
def test_a_token_has_one_spelling(form: str) -> None:
    token = link()

    assert opened(form.format(token, token)) is None


@given(st.text(max_size=200))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert opened(text) is None

"""Drivers: what they stand for, and when they are too old."""

from __future__ import annotations

from datetime import timedelta

from tests.builders import AT, make_driver

from sparkowl.domain.driver import expired, fingerprint


def test_the_fingerprint_knows_the_engine_and_the_properties_but_not_their_order() -> None:
    one = fingerprint("E", {"a": "1", "b": "2"})

    assert fingerprint("E", {"b": "2", "a": "1"}) == one
    assert len({one, fingerprint("F", {"a": "1", "b": "2"}), fingerprint("E", {"a": "1"})}) == 3
    assert fingerprint("E", {"a": "1, b"}) != fingerprint("E", {"a, 1": "b"})


def test_a_waiting_driver_grows_old_and_one_that_is_taken_does_not() -> None:
    age = timedelta(hours=1)
    waiting = make_driver(session_id=None)

    assert not expired(waiting, age, AT + age - timedelta(seconds=1))
    assert expired(waiting, age, AT + age)
    assert not expired(make_driver(), age, AT + age)

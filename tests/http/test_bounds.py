"""The pace that bytes must keep, and how many may be in memory."""

from __future__ import annotations

import pytest

from sparkowl.domain.errors import Throttled
from sparkowl.http.bounds import Bounds, InFlight, Pace

BOUNDS = Bounds(stall_s=30, pace_s=60, least_bytes_per_s=100)


def judged(*moved: tuple[float, int]) -> list[bool]:
    pace = Pace()
    return [pace.too_slow(now, done, BOUNDS) for now, done in moved]


def test_nothing_for_the_whole_time_is_too_slow() -> None:
    assert judged((0, 0), (29, 0), (30, 0)) == [False, False, True]


def test_a_byte_now_and_then_is_too_slow_once_the_pace_was_measured() -> None:
    assert judged((0, 0), (20, 1), (40, 2), (59, 3), (60, 4)) == [False] * 4 + [True]


def test_what_keeps_the_pace_goes_on_for_ever() -> None:
    assert not any(judged(*((10.0 * n, 1_000 * n) for n in range(1_000))))


def test_each_measurement_stands_for_itself() -> None:
    """A fast beginning is no credit."""
    assert judged((0, 0), (59, 10_000_000), (61, 10_000_001), (80, 10_000_002), (121, 10_000_003))[
        -1
    ]


def test_a_pause_that_is_the_servers_counts_for_nothing() -> None:
    pace = Pace()

    assert not pace.too_slow(0, 0, BOUNDS)
    pace.rest()
    assert not pace.too_slow(100, 0, BOUNDS)
    assert not pace.too_slow(129, 0, BOUNDS)
    assert pace.too_slow(130, 0, BOUNDS)


def test_a_number_that_falls_is_a_new_beginning() -> None:
    """What waits to be read grew, because the server wrote."""
    assert judged((0, -100), (29, -5_000), (58, -5_000), (59, -5_000)) == [False] * 3 + [True]


def test_bodies_in_memory_are_counted_together() -> None:
    bodies = InFlight(100)

    bodies.take(60)
    with pytest.raises(Throttled):
        bodies.take(41)
    bodies.take(40)
    bodies.give(60)
    bodies.take(60)

    assert bodies.bytes == 100

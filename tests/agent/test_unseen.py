"""What a page did not acknowledge is known, in order, and bounded."""

from __future__ import annotations

import pytest

from sparkowl.agent.jupyter.unseen import Frame, Unseen
from sparkowl.agent.messages import page_took, taken_by_page


def of(*numbers: int) -> Unseen:
    unseen = Unseen()
    for number in numbers:
        unseen.add(frame(number))
    return unseen


def frame(number: int) -> Frame:
    return Frame(str(number), binary=False)


@pytest.mark.parametrize(
    ("taken", "left"),
    [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, []), (4, []), (10**19, [])],
)
def test_what_is_not_taken_is_left(taken: int, left: list[int]) -> None:
    unseen = of(1, 2, 3)
    unseen.taken(taken)
    assert unseen.drain() == [frame(number) for number in left]
    assert unseen.drain() == []


def test_an_older_number_takes_nothing_back() -> None:
    unseen = of(1, 2, 3)
    unseen.taken(2)
    unseen.taken(1)
    unseen.add(frame(4))
    assert unseen.drain() == [frame(3), frame(4)]


def test_without_any_acknowledgement_nothing_is_known() -> None:
    assert of(1, 2).drain() == []


def test_the_oldest_go_first_where_too_much_is_under_way() -> None:
    large = Frame(bytes(3 << 20), binary=True)
    unseen = of(1)
    unseen.taken(1)
    for _ in range(5):
        unseen.add(large)
    unseen.taken(4)
    assert unseen.drain() == [large] * 2


@pytest.mark.parametrize(
    "said",
    ["", "text", b"SparkOwl-Page-Took: 1", "SparkOwl-Page-Took: ", "SparkOwl-Page-Took: -1",
     "SparkOwl-Page-Took: 1.5", "SparkOwl-Page-Took: ²", "SparkOwl-Page-Took: " + "9" * 30],
)  # fmt: skip
def test_what_is_no_acknowledgement(said: str | bytes) -> None:
    assert taken_by_page(said) is None


def test_an_acknowledgement_is_read_as_it_was_written() -> None:
    assert taken_by_page(page_took(12)) == 12

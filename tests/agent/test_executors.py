"""What of Spark's list of executors is news."""

from __future__ import annotations

from sparkowl.agent.executors import Roster
from sparkowl.agent.spark import ExecutorSeen

DRIVER = ExecutorSeen(id="driver", cores=0, started_at=1.0)
ONE = ExecutorSeen(id="0", cores=2, started_at=5.0)
TWO = ExecutorSeen(id="1", cores=4, started_at=6.0)
ENDED = ExecutorSeen(id="0", cores=2, started_at=5.0, ended_at=9.0, reason="Command exited")


def names(roster: Roster, application: str, *seen: ExecutorSeen) -> list[tuple[str, float]]:
    """The news of a look at the second 20: who, and when it ended."""
    return [(told.name, told.seen.ended_at) for told in roster.take(application, seen, 20.0)]


def test_an_executor_is_told_of_once_and_the_driver_never() -> None:
    roster = Roster()

    assert names(roster, "a", DRIVER, ONE) == [("0", 0)]
    assert names(roster, "a", DRIVER, ONE) == []
    assert names(roster, "a", TWO, DRIVER, ONE) == [("1", 0)]
    assert roster.live == 2


def test_an_end_is_told_of_once_and_need_not_be_looked_at_again() -> None:
    roster = Roster()
    roster.take("a", [DRIVER, ONE, TWO], 20.0)

    assert names(roster, "a", DRIVER, ENDED, TWO) == [("0", 9.0)]
    assert roster.ended == {"0"}
    assert names(roster, "a", DRIVER, TWO) == []
    assert names(roster, "a", DRIVER, ENDED, TWO) == []


def test_one_that_came_and_went_between_two_looks_is_told_of() -> None:
    assert names(Roster(), "a", DRIVER, ENDED) == [("0", 9.0)]


def test_one_that_spark_forgot_has_ended_by_now() -> None:
    roster = Roster()
    roster.take("a", [DRIVER, ONE], 20.0)

    [told] = roster.take("a", [DRIVER], 30.0)

    assert (told.name, told.seen.ended_at) == ("0", 30.0)
    assert told.seen.reason


def test_cores_that_spark_learns_later_are_told_of() -> None:
    roster = Roster()
    roster.take("a", [ExecutorSeen(id="0", cores=0, started_at=5.0)], 20.0)

    [told] = roster.take("a", [ONE], 20.0)

    assert told.seen.cores == 2


def test_a_second_context_numbers_its_executors_anew_but_their_names_differ() -> None:
    roster = Roster()
    roster.take("a", [DRIVER, ONE, TWO], 20.0)

    assert names(roster, "") == [("0", 20.0), ("1", 20.0)]
    assert names(roster, "b", DRIVER, ONE) == [("0.2", 0)]
    assert names(roster, "b", DRIVER, ENDED) == [("0.2", 9.0)]


def test_a_driver_alone_is_no_news() -> None:
    assert names(Roster(), "a", DRIVER) == []

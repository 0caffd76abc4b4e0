"""Which of the servers that share a database are dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.builders import AT

from sparkowl.domain.ids import new_server_id
from sparkowl.domain.server import Place, Server, Watch, elsewhere

HERE = Place(host="here", boot="1", pid=1, started_at=10, folder="/data")
LEASE = timedelta(seconds=10)


def peer(**place: object) -> Server:
    return Server(
        id=new_server_id(),
        url="http://127.0.0.1:1",
        place=replace(HERE, **({"pid": 2} | place)),  # type: ignore[arg-type]
        started_at=AT,
        expires_at=AT + LEASE,
    )


def watch(*, lives: bool = True) -> Watch:
    return Watch(here=HERE, lease=LEASE, lives=lambda place: lives)


def test_one_whose_process_is_gone_is_dead_at_once() -> None:
    other = peer()

    assert watch(lives=False).dead([other], AT, 0) == [other]


def test_one_that_does_not_renew_is_dead_after_the_lease_and_not_before() -> None:
    other, seen = peer(), watch()

    found = [seen.dead([other], AT, second) for second in range(11)]

    assert found == [[]] * 10 + [[other]]


def test_one_that_renews_lives() -> None:
    other, seen = peer(), watch()

    for second in range(30):
        renewed = replace(other, expires_at=AT + timedelta(seconds=second // 9))
        assert seen.dead([renewed], AT, second) == []


def test_the_wall_clock_ends_no_lease_of_a_neighbour() -> None:
    other, seen = peer(), watch()

    assert seen.dead([other], AT + timedelta(hours=1), 0) == []
    assert seen.dead([other], AT - timedelta(hours=1), 1) == []


def test_an_observer_that_slept_begins_anew() -> None:
    other, seen = peer(), watch()
    assert seen.dead([other], AT, 0) == []

    assert seen.dead([other], AT, 100) == []
    assert seen.dead([other], AT, 104) == []
    assert seen.dead([other], AT, 108) == []
    assert seen.dead([other], AT, 110) == [other]


def test_one_of_before_the_machines_last_start_is_dead_once_its_lease_is_over() -> None:
    other = peer(boot="0")

    assert watch().dead([other], AT + LEASE, 0) == [other]
    assert watch(lives=False).dead([other], AT, 0) == []


def test_a_server_is_elsewhere_on_another_machine_as_long_as_its_lease_lasts() -> None:
    assert elsewhere(peer(host="there"), HERE, AT)
    assert elsewhere(peer(boot="0"), HERE, AT)
    assert not elsewhere(peer(host="there"), HERE, AT + LEASE)
    assert not elsewhere(peer(), HERE, AT)

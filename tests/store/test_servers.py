"""What each server looks after, and how it changes hands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection
from tests.builders import AT, LATER, make_driver, make_session

from sparkowl.domain.errors import Conflict
from sparkowl.domain.ids import DriverId, ServerId
from sparkowl.domain.server import Place, Server
from sparkowl.domain.session import Event, Session, State
from sparkowl.store import Store, drivers, servers, sessions

ME, OTHER = ServerId("me"), ServerId("other")
HOUR = timedelta(hours=1)


def make_server(server_id: ServerId, **changes: object) -> Server:
    made = Server(
        id=server_id,
        url="http://127.0.0.1:1",
        place=Place(host="host", boot="boot", pid=1, started_at=2, folder="/data"),
        started_at=AT,
        expires_at=LATER,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def put(store: Store, *sessions_: Session) -> None:
    def write(tx: Connection) -> None:
        for session in sessions_:
            sessions.insert_session(tx, session)

    await store.write(write)


async def join(store: Store, *ids: ServerId) -> None:
    for server_id in ids:
        await store.write(lambda tx, i=server_id: servers.renew(tx, make_server(i)))  # type: ignore[misc]


async def test_a_lease_is_renewed_and_one_that_was_lost_is_made_again(store: Store) -> None:
    assert await store.write(lambda tx: servers.renew(tx, make_server(ME))) is False
    later = make_server(ME, expires_at=LATER + HOUR)
    assert await store.write(lambda tx: servers.renew(tx, later)) is True

    assert await store.read(servers.list_all) == [later]


async def test_what_a_dead_server_had_changes_hands(store: Store) -> None:
    await join(store, ME, OTHER)
    theirs, mine = make_session(server=OTHER), make_session(server=ME)
    legacy = make_session(server=None)
    ended = make_session(server=OTHER, state=State.TERMINATED, ended_at=AT)
    ending = make_session(server=OTHER, state=State.FAILED, ended_at=AT)
    await put(store, theirs, mine, legacy, ended, ending)
    left = make_driver(session_id=ending.id)
    member = make_driver(session_id=None, server=OTHER)
    for driver in (left, member):
        await store.write(lambda tx, d=driver: drivers.insert_driver(tx, d))  # type: ignore[misc]

    estate = await store.write(lambda tx: servers.take_over(tx, ME, [make_server(OTHER)]))

    assert set(estate.sessions) == {theirs.id, legacy.id, ending.id}
    assert estate.members == 1
    assert [server.id for server in await store.read(servers.list_all)] == [ME]
    found = await store.read(lambda tx: drivers.get(tx, member.id))
    assert found is not None
    assert (found.server, found.reason) == (ME, servers.EARLIER_SERVER)
    assert not await store.read(servers.has_orphans)


async def test_a_server_that_renewed_meanwhile_keeps_what_it_has(store: Store) -> None:
    await join(store, ME, OTHER)
    session = make_session(server=OTHER)
    await put(store, session)
    seen = make_server(OTHER, expires_at=AT)

    estate = await store.write(lambda tx: servers.take_over(tx, ME, [seen]))

    assert estate.sessions == ()
    assert (await store.read(lambda tx: sessions.get(tx, session.id))).server == OTHER


async def test_what_was_decided_before_the_take_over_is_a_conflict(store: Store) -> None:
    await join(store, ME, OTHER)
    session = make_session(server=OTHER)
    await put(store, session)
    await store.write(lambda tx: servers.take_over(tx, ME, [make_server(OTHER)]))

    with pytest.raises(Conflict):
        await store.write(lambda tx: sessions.replace(tx, session, Event.IDLE_TIMED_OUT, at=LATER))


async def test_a_server_that_says_goodbye_leaves_orphans(store: Store) -> None:
    await join(store, ME, OTHER)
    await put(store, make_session(server=OTHER))
    assert not await store.read(servers.has_orphans)

    await store.write(lambda tx: servers.remove(tx, OTHER))

    assert await store.read(servers.has_orphans)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
async def test_a_jump_moves_the_times_of_what_lives_and_is_ours(
    store: Store, by: timedelta
) -> None:
    jumped = LATER + by
    mine = make_session(server=ME)
    fresh = make_session(server=ME, idle_since=jumped)
    theirs = make_session(server=OTHER)
    ended = make_session(server=ME, state=State.TERMINATED, ended_at=AT)
    created = make_session(server=ME, state=State.CREATED, idle_since=None)
    await put(store, mine, fresh, theirs, ended, created)
    waits = make_driver(session_id=created.id, adopted_at=None)
    works = make_driver(session_id=mine.id)
    for driver in (waits, works):
        await store.write(lambda tx, d=driver: drivers.insert_driver(tx, d))  # type: ignore[misc]

    step = by // timedelta(microseconds=1)
    second = timedelta(seconds=1)
    await store.write(
        lambda tx: servers.shift(tx, ME, step, since=jumped - second, until=jumped + second)
    )

    async def read(session: Session) -> Session:
        return await store.read(lambda tx: sessions.get(tx, session.id))

    async def created_at(driver_id: DriverId) -> object:
        found = await store.read(lambda tx: drivers.get(tx, driver_id))
        assert found is not None
        return found.created_at

    assert (await read(mine)).idle_since == AT + by
    assert (await read(mine)).active_at == AT
    assert (await read(created)).active_at == AT + by
    assert (await read(fresh)).idle_since == jumped
    assert (await read(theirs)).idle_since == AT
    assert (await read(ended)).idle_since == AT
    assert await created_at(waits.id) == AT + by
    assert await created_at(works.id) == AT

"""Who is behind the key of a session, and how soon its end is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.builders import AT, make_session
from tests.keys import allow, opened, policy_of, work_group

from sparkowl.access.keyring import Keyring
from sparkowl.access.session_keys import SessionKeys
from sparkowl.access.standing import MAX_AGE, Standing
from sparkowl.clock import Manual
from sparkowl.config import DATABASE_FILE
from sparkowl.credentials import Credentials
from sparkowl.domain import session as domain
from sparkowl.domain import session_key
from sparkowl.domain.arns import Account
from sparkowl.domain.ids import new_session_id
from sparkowl.domain.policy import ROOT
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.session import Session, State
from sparkowl.store import Store, sessions

OWN = work_group("spark")
ROLE = "arn:aws:iam::000000000000:role/etl"


class Bench:
    """A server's way to keys; several may share a store."""

    def __init__(self, store: Store, folder: Path, first: Credentials, clock: Manual) -> None:
        self.store = store
        self.clock = clock
        self.roles = Roles({ROLE: Role(policy=policy_of(allow("athena:ListWorkGroups")))})
        key = first.key_for(session_key.PURPOSE)
        self.keys = SessionKeys(store, clock, key, Account(), self.roles)
        self.keyring = Keyring(store, folder, first, clock, sessions=self.keys)
        self.closed = Keyring(store, folder, first, clock, sessions=self.keys, first_only=True)
        self.standing = Standing(store, clock, sessions=self.keys, first_only=True)

    async def session(self, **changes: Any) -> Session:
        session = make_session(**changes)
        await self.store.write(lambda tx: sessions.insert_session(tx, session))
        return session

    async def opens(self, session_id: str) -> bool:
        return await self.keyring.find(session_key.key_id(session_id)) is not None


@pytest.fixture
def bench(store: Store, tmp_path: Path, first: Credentials) -> Bench:
    return Bench(store, tmp_path, first, Manual(AT))


async def test_the_key_of_a_session_is_the_sessions(bench: Bench, first: Credentials) -> None:
    session = await bench.session()
    key_id = session_key.key_id(session.id)

    caller = await bench.keyring.find(key_id)

    assert caller is not None
    assert caller.access_key_id == key_id
    assert caller.secret == session_key.secret(first.key_for("session credentials"), session.id)
    assert caller.secret not in repr(caller)
    assert caller.secret not in repr(await bench.keys.find(key_id))
    assert caller.principal.name == f"session/{session.id}"
    assert caller.principal is not ROOT
    assert caller.principal.allows("athena:GetSession", OWN)
    assert not caller.principal.allows("athena:ListWorkGroups", "*")


async def test_it_may_what_the_policy_of_its_role_says(bench: Bench) -> None:
    session = await bench.session(request={"ExecutionRole": ROLE})

    caller = await bench.keyring.find(session_key.key_id(session.id))

    assert caller is not None
    assert caller.principal.allows("athena:ListWorkGroups", "*")
    assert not caller.principal.allows("athena:GetSession", OWN)


@pytest.mark.parametrize("state", State)
async def test_it_opens_as_long_as_the_session_has_not_ended(bench: Bench, state: State) -> None:
    session = await bench.session(state=state)

    assert await bench.opens(session.id) is (state not in domain.TERMINAL)


async def test_the_end_of_a_session_is_noticed_within_a_second(bench: Bench) -> None:
    session = await bench.session(state=State.TERMINATING)
    assert await bench.opens(session.id)

    await bench.store.write(
        lambda tx: sessions.change(tx, session.id, domain.Event.DRIVER_GONE, at=AT)
    )
    bench.clock.advance(0.999)
    assert await bench.opens(session.id)
    bench.clock.advance(0.001)
    assert not await bench.opens(session.id)


async def test_a_clock_that_was_set_back_is_a_reason_to_look(bench: Bench) -> None:
    session = await bench.session(state=State.TERMINATING)
    assert await bench.opens(session.id)
    await bench.store.write(
        lambda tx: sessions.change(tx, session.id, domain.Event.DRIVER_GONE, at=AT)
    )

    bench.clock.advance(-60)

    assert not await bench.opens(session.id)


async def test_a_session_that_there_never_was_has_no_key(bench: Bench) -> None:
    assert not await bench.opens(new_session_id())


async def test_a_row_is_looked_at_once_a_second_at_most(bench: Bench) -> None:
    session = await bench.session()
    looks: list[str] = []
    event.listen(
        bench.store._database.engine,
        "before_cursor_execute",
        lambda _c, _cu, statement, *_: looks.append(statement),
    )

    for _ in range(50):
        assert await bench.opens(session.id)

    assert len(looks) == 1


async def test_strangers_do_not_fill_the_memory(bench: Bench) -> None:
    session = await bench.session()

    for _ in range(1_100):
        await bench.opens(new_session_id())

    assert len(bench.keys._known) == 1_000
    assert await bench.opens(session.id)


async def test_any_server_of_a_database_takes_the_key(
    bench: Bench, tmp_path: Path, first: Credentials
) -> None:
    session = await bench.session()
    with opened(tmp_path / DATABASE_FILE) as store:
        other = Bench(store, tmp_path, first, bench.clock)

        here, there = [
            await each.keyring.find(session_key.key_id(session.id)) for each in (bench, other)
        ]

    assert here == there
    assert here is not None


async def test_where_only_the_first_key_is_let_in_its_sessions_are_too(bench: Bench) -> None:
    session = await bench.session()

    assert await bench.closed.find(session_key.key_id(session.id)) is not None


async def test_who_a_session_let_in_stays_until_it_ends(bench: Bench) -> None:
    session = await bench.session(state=State.TERMINATING)
    name = session_key.name_of(session.id)

    found = await bench.standing.of(name)
    assert found is not None
    assert found.allows("athena:CreatePresignedNotebookUrl", OWN)
    await bench.store.write(
        lambda tx: sessions.change(tx, session.id, domain.Event.DRIVER_GONE, at=AT)
    )
    bench.clock.advance(MAX_AGE.total_seconds())
    assert await bench.standing.of(name) is None
    assert await bench.standing.of(session_key.name_of(new_session_id())) is None
    assert await bench.standing.of("session/nobody") is None

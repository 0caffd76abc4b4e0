"""What a store promises, on either engine; and what one on PostgreSQL promises besides."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, ResourceClosedError
from tests.builders import AT, make_calculation, make_driver, make_session
from tests.databases import ENGINES, PostgreSQL, new_place, new_server, server

from sparkowl.domain.session import Session
from sparkowl.store import Store, calculations, drivers, sessions, tables, tokens
from sparkowl.store.engine import Place
from sparkowl.store.reading import NoDatabase, reading

#: All that can be difficult in text, in the order of its characters.
TEXTS = [
    *("", "\0", "\0a", "a", "a\0", "a\0b", "a\x01", "a\x01a", "a\x01b", "a\x02", "b", "é"),
    "\U0001f989",
]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return new_place(request.param, tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = Store.open(place)
    yield opened
    opened.close()


def adding(session: Session) -> Callable[[Connection], None]:
    return lambda tx: sessions.insert_session(tx, session)


def count(tx: Connection) -> int:
    return int(tx.execute(select(func.count()).select_from(tables.sessions)).scalar_one())


async def test_what_returned_is_there_for_whoever_opens_the_database(
    store: Store, place: Place
) -> None:
    session = make_session()

    await store.write(adding(session))

    with reading(place) as connection:
        assert sessions.get(connection, session.id) == session
    other = Store.open(place)
    assert await other.read(lambda tx: sessions.get(tx, session.id)) == session
    other.close()


async def test_writes_are_made_in_the_order_of_the_calls(store: Store) -> None:
    seen: list[int] = []

    def note(number: int) -> Callable[[Connection], None]:
        return lambda tx: seen.append(number)

    await asyncio.gather(*(store.write(note(number)) for number in range(200)))

    assert seen == list(range(200))


@pytest.mark.parametrize(
    "broken",
    ["SELECT nothing FROM nowhere", "INSERT INTO session_events (session_id) VALUES ('x')"],
)
async def test_an_error_in_sql_undoes_its_own_work_only(store: Store, broken: str) -> None:
    def work(tx: Connection) -> None:
        sessions.insert_session(tx, make_session())
        tx.execute(text(broken))

    results = await asyncio.gather(
        store.write(adding(make_session())),
        store.write(work),
        store.write(adding(make_session())),
        return_exceptions=True,
    )

    assert [isinstance(result, DBAPIError) for result in results] == [False, True, False]
    assert await store.read(count) == 2


async def test_a_read_that_fails_does_no_harm_to_the_next(store: Store) -> None:
    for _ in range(10):
        with pytest.raises(DBAPIError):
            await store.read(lambda tx: tx.execute(text("SELECT nothing FROM nowhere")))

    assert await store.read(count) == 0


async def test_a_read_in_a_view_stays_as_it_began(store: Store, place: Place) -> None:
    await store.write(adding(make_session()))
    with reading(place) as connection:
        before = count(connection)
        await store.write(adding(make_session()))
        after = count(connection)

    assert (before, after) == (1, 1)


def _start(tx: Connection, session: Session) -> str:
    asked = tokens.Asked("StartSession", "root", {"ClientRequestToken": "t" * 32})
    found = tokens.find(tx, asked)
    if found is not None:
        return found
    sessions.insert_session(tx, session)
    tokens.insert_token(tx, asked, session.id, AT)
    return session.id


async def test_of_many_with_one_token_one_wins_also_over_two_stores(
    store: Store, place: Place
) -> None:
    other = Store.open(place)

    made = await asyncio.gather(
        *(one.write(lambda tx: _start(tx, make_session())) for one in [store, other] * 20)
    )

    assert len(set(made)) == 1
    assert await store.read(count) == 1
    other.close()


async def test_a_limit_holds_over_two_stores(store: Store, place: Place) -> None:
    """Look, then write: what every rule about limits does."""
    other = Store.open(place)

    def start(tx: Connection) -> bool:
        if count(tx) >= 5:
            return False
        sessions.insert_session(tx, make_session())
        return True

    made = await asyncio.gather(*(one.write(start) for one in [store, other] * 20))

    assert sum(made) == 5
    assert await store.read(count) == 5
    other.close()


async def test_any_text_comes_back_as_it_was(store: Store) -> None:
    session = make_session(description="".join(TEXTS), reason="\0", request={"a": "\0\ud800"})
    calculation = make_calculation(session_id=session.id, code="print('\0\x01a')", reason="a\0")
    driver = make_driver(session_id=session.id, reason="\0", details={"a": "\0"})

    def write(tx: Connection) -> None:
        sessions.insert_session(tx, session)
        calculations.insert_calculation(tx, calculation)
        drivers.insert_driver(tx, driver)

    await store.write(write)

    assert await store.read(lambda tx: sessions.get(tx, session.id)) == session
    assert await store.read(lambda tx: calculations.get(tx, calculation.id)) == calculation
    assert await store.read(lambda tx: drivers.get(tx, driver.id)) == driver


async def test_text_is_in_the_order_of_its_characters(store: Store) -> None:
    names = [*TEXTS, "B", "Z", "_", "a-b", "a_b", "aB", "ab"]
    t = tables.tags.c

    def write(tx: Connection) -> None:
        tx.execute(tables.tags.insert(), [{"resource": "r", "key": k, "value": ""} for k in names])

    await store.write(write)

    def read(tx: Connection) -> tuple[list[str], list[str]]:
        ordered = tx.execute(select(t.key).order_by(t.key)).scalars().all()
        behind = tx.execute(select(t.key).where(t.key > "a_b").order_by(t.key)).scalars().all()
        return list(ordered), list(behind)

    ordered, behind = await store.read(read)
    assert ordered == sorted(names)
    assert behind == [name for name in sorted(names) if name > "a_b"]


async def test_a_name_with_any_character_can_be_looked_for(store: Store) -> None:
    assert await store.read(lambda tx: sessions.find(tx, "\0" * 200)) is None


async def test_a_store_that_is_closed_says_so(place: Place) -> None:
    store = Store.open(place)
    store.close()

    with pytest.raises(ResourceClosedError):
        await store.write(count)
    with pytest.raises(ResourceClosedError):
        await store.read(count)


# --- connections to PostgreSQL are lost, and made again ----------------------------------------

_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sparkowl'"


@pytest.fixture
def alone() -> Iterator[PostgreSQL]:
    """A PostgreSQL server that the test may stop."""
    made = new_server()
    yield made
    made.end()


async def test_connections_that_were_cut_are_made_again(alone: PostgreSQL) -> None:
    store = Store.open(alone.new_database())
    session = make_session()
    await store.write(adding(session))
    await asyncio.gather(*(store.read(count) for _ in range(20)))

    alone.execute(_OURS)

    assert await asyncio.gather(*(store.read(count) for _ in range(20))) == [1] * 20
    alone.execute(_OURS)
    await asyncio.gather(*(store.write(adding(make_session())) for _ in range(20)))
    assert await store.read(count) == 21
    store.close()


async def test_a_connection_that_is_cut_in_the_middle_loses_its_batch_and_says_so(
    alone: PostgreSQL,
) -> None:
    store = Store.open(alone.new_database())

    def cut(tx: Connection) -> None:
        sessions.insert_session(tx, make_session())
        alone.execute(_OURS)
        sessions.insert_session(tx, make_session())

    results = await asyncio.gather(
        store.write(adding(make_session())), store.write(cut), return_exceptions=True
    )

    assert all(isinstance(result, OperationalError) for result in results), results
    assert await store.read(count) == 0
    await store.write(adding(make_session()))
    assert await store.read(count) == 1
    store.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_database_that_was_away_is_used_again(
    alone: PostgreSQL, how: signal.Signals
) -> None:
    store = Store.open(alone.new_database())
    await store.write(adding(make_session()))
    alone.stop(how)

    for _ in range(2):
        with pytest.raises(OperationalError):
            await store.write(adding(make_session()))
        with pytest.raises(OperationalError):
            await store.read(count)
    alone.start()
    await store.write(adding(make_session()))
    assert await store.read(count) == 2
    store.close()


async def test_a_writer_that_is_frozen_does_not_stop_the_others() -> None:
    """What it holds is PostgreSQL's to take away."""
    running = server()
    place = new_place("postgresql", Path())
    store = Store.open(place)

    shown = await store.write(
        lambda tx: tx.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    )

    assert shown == "10s"
    assert running.execute("SHOW idle_in_transaction_session_timeout") == [("0",)]
    store.close()


async def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    url = server().url("nowhere")

    with pytest.raises(NoDatabase) as refused, reading(url):
        pass

    assert 'database "nowhere" does not exist' in str(refused.value)
    assert "postgresql://sparkowl@127.0.0.1:" in str(refused.value)
    assert "hidden-word" not in str(refused.value)

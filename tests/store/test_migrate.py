"""The migrations make exactly the tables that the code uses, from zero and from the last release;
and which databases a server refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from tests.builders import make_session
from tests.databases import empty_place

from sparkowl.store import Store, migrate, notebooks, sessions
from sparkowl.store.engine import Place, open_database
from sparkowl.store.migrate import NewerDatabase, _config
from sparkowl.store.reading import NoDatabase, reading
from sparkowl.store.tables import metadata

#: Those of servers that somebody may have.
PREVIOUS = ("0002", "0003")
#: Of every column, what both ways must agree on.
_COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, collation_name,
    is_nullable FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""


@pytest.fixture
def empty(engine: str, tmp_path: Path) -> Place:
    """A place without tables."""
    return empty_place(engine, tmp_path)


@contextmanager
def changing(place: Place) -> Iterator[Connection]:
    database = open_database(place)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection
    database.engine.dispose()


def upgrade_to(place: Place, revision: str) -> None:
    with changing(place) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def described(connection: Connection) -> Any:
    """All that the database knows about its tables."""
    found = inspect(connection)
    tables = {
        name: (
            sorted(str(index) for index in found.get_indexes(name)),
            found.get_pk_constraint(name)["constrained_columns"],
            sorted(
                (column["name"], str(column["type"]), column["nullable"])
                for column in found.get_columns(name)
            ),
        )
        for name in found.get_table_names()
    }
    if connection.dialect.name == "postgresql":
        return tables, connection.exec_driver_sql(_COLUMNS).all()
    return tables


def set_schema(place: Place, *, version: int, oldest: int) -> None:
    """As a newer server would leave the database."""
    with changing(place) as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '000{version}'"))
        connection.execute(
            text(
                f"UPDATE schema SET version = {version}, oldest_version = {oldest}, "
                "oldest_server = '7.1.0'"
            )
        )


def state_of(place: Place) -> Any:
    with changing(place) as connection:
        rows = [
            connection.execute(text(f"SELECT * FROM {name}")).all()
            for name in sorted(inspect(connection).get_table_names())
        ]
        return described(connection), rows


def test_the_migrations_from_zero_make_the_tables_of_the_code(empty: Place) -> None:
    migrate.upgrade(empty)

    with changing(empty) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("previous", PREVIOUS)
async def test_an_older_database_migrated_is_the_same_as_from_zero(
    empty: Place, place: Place, previous: str
) -> None:
    upgrade_to(empty, previous)
    session = make_session(description="é\n", reason="why")
    with changing(empty) as connection:
        connection.execute(
            text(
                "INSERT INTO sessions (id, work_group, state, engine_version, description, request,"
                " idle_timeout, output_location, created_at, modified_at, timeline, version)"
                " VALUES (:id, 'spark', 'IDLE', 'e', :description, '{}', 60000000, 's3://x',"
                " 1767268800123456, 1767268800123456, '{}', 7)"
            ),
            {"id": session.id, "description": session.description},
        )
        connection.execute(
            text(
                "INSERT INTO session_events (session_id, event, to_state, at)"
                " VALUES (:id, 'START_ASKED', 'CREATING', 1767268800123456)"
            ),
            {"id": session.id},
        )

    migrated = Store.open(empty)
    fresh = Store.open(place)

    assert await migrated.read(described) == await fresh.read(described)
    kept = await migrated.read(lambda tx: sessions.get(tx, session.id))
    assert (kept.description, kept.version, kept.principal) == ("é\n", 7, None)
    assert kept.notebook_id is None
    assert await migrated.read(lambda tx: notebooks.names(tx, "spark")) == []
    assert len(await migrated.read(lambda tx: sessions.history(tx, session.id))) == 1
    migrated.close()
    fresh.close()


def test_upgrading_twice_changes_nothing(place: Place) -> None:
    migrate.upgrade(place)
    before = state_of(place)

    migrate.upgrade(place)

    assert state_of(place) == before


def test_servers_that_start_at_once_do_not_meet_in_the_migration(empty: Place) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            migrate.upgrade(empty)
        except BaseException as error:  # noqa: BLE001  it is handed to the test
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with changing(empty) as connection:
        assert migrate.is_current(connection, "x")


def test_a_database_of_a_newer_server_is_refused_and_left_alone(place: Place) -> None:
    migrate.upgrade(place)
    set_schema(place, version=9, oldest=8)
    before = state_of(place)

    with pytest.raises(NewerDatabase) as refused:
        Store.open(place)

    name = open_database(place).name
    assert str(refused.value) == (
        f"{name} has tables of version 9, and this SparkOwl knows those up to 4. They need "
        "SparkOwl 7.1.0 or newer: start such a one, or restore the backup that was made before "
        "the upgrade."
    )
    with pytest.raises(NoDatabase, match=r"They need SparkOwl 7\.1\.0"), reading(place):
        pass
    assert state_of(place) == before


def _without_schema(connection: Connection) -> None:
    connection.execute(text("DROP TABLE schema"))


def _without_rows(connection: Connection) -> None:
    connection.execute(text("DELETE FROM schema"))


def _of_before(connection: Connection) -> None:
    connection.execute(text("UPDATE schema SET version = 3, oldest_version = 3"))


@pytest.mark.parametrize("spoil", [_without_schema, _without_rows, _of_before])
def test_a_database_that_does_not_say_whom_it_needs_is_refused(
    place: Place, spoil: Callable[[Connection], None]
) -> None:
    migrate.upgrade(place)
    set_schema(place, version=9, oldest=9)
    with changing(place) as connection:
        spoil(connection)

    with pytest.raises(NewerDatabase, match="revision 0009"):
        Store.open(place)


async def test_a_newer_database_that_this_server_may_use_is_used_as_it_is(place: Place) -> None:
    migrate.upgrade(place)
    set_schema(place, version=9, oldest=3)

    store = Store.open(place)
    session = make_session()
    await store.write(lambda tx: sessions.insert_session(tx, session))

    with reading(place) as connection:
        assert sessions.get(connection, session.id) == session
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert version == "0009"
    store.close()


def test_a_migration_that_was_interrupted_leaves_nothing_half_made(empty: Place) -> None:
    with changing(empty) as connection:
        # The migration stops at its third table: one of that name is there.
        connection.execute(text("CREATE TABLE sessions (x INTEGER)"))

    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(empty)

    with changing(empty) as connection:
        assert inspect(connection).get_table_names() == ["sessions"]

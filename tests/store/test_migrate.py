"""The migrations make exactly the tables that the code uses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sparkowl.store import Store, migrate
from sparkowl.store.engine import sqlite_engine
from sparkowl.store.tables import metadata


def test_the_migrations_from_zero_make_the_tables_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "new.db"

    migrate.upgrade(path)

    engine = sqlite_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate.upgrade(path)
    before = path.read_bytes()

    migrate.upgrade(path)

    assert path.read_bytes() == before


def test_a_database_of_a_newer_server_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    migrate.upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()

    with pytest.raises(migrate.NewerDatabase, match="revision 9999"):
        Store.open(path)

    assert path.read_bytes() == before


def test_a_migration_that_was_interrupted_leaves_nothing_half_made(tmp_path: Path) -> None:
    path = tmp_path / "stray.db"
    with closing(sqlite3.connect(path)) as connection:
        # The migration stops at its third table: one of that name is there.
        connection.execute("CREATE TABLE sessions (x INTEGER)")
        connection.commit()

    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(path)

    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert tables == {"sessions"}

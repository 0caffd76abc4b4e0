"""Bringing a database up to date, with Alembic, and which databases a server may use.

A database tells the version of its tables and the oldest version that a server must know to use
them (table ``schema``). So servers of two releases can share a database while they are upgraded one
after the other; one that is too old is refused: the rows may mean what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select

from sparkowl.store import tables
from sparkowl.store.engine import Database, Place, UnusableDatabase, open_database

HERE = Path(__file__).parent
#: The version of the tables that this server makes: the last migration's number.
VERSION: Final = 4


class NewerDatabase(UnusableDatabase):
    """The database was made by a newer SparkOwl, and may be used only by such."""


@dataclass(frozen=True, slots=True)
class _Schema:
    """What the database says of itself."""

    version: int
    oldest_version: int
    oldest_server: str


def upgrade(place: Place) -> None:
    """Apply the migrations that the database lacks; make an SQLite file that is missing.

    All of them or none: a server that dies in the middle starts over the next time. Of servers that
    start at once one does it and the others wait. Raises :class:`NewerDatabase`.
    """
    database = open_database(place)
    try:
        # A look without the lock first: on a database in use, a start waits for nobody.
        with database.engine.connect() as connection:
            if is_current(connection, database.name):
                return
        with database.engine.begin() as connection:
            _upgrade(connection, database)
    finally:
        database.engine.dispose()


def _upgrade(connection: Connection, database: Database) -> None:
    connection.exec_driver_sql(database.begin_migration)
    if not is_current(connection, database.name):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(connection: Connection, name: str) -> bool:
    """Whether this server can use the database as it is; False: it lacks migrations.

    Raises :class:`NewerDatabase`, with ``name`` in its text, when the database asks for a newer
    server.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None or current in known:
        return current == scripts.get_current_head()
    schema = _schema(connection)
    if schema is None or schema.version <= VERSION:
        # It says nothing, or nothing of what made it newer.
        raise NewerDatabase(
            f"{name} is at revision {current}, which this SparkOwl does not know. "
            "Use the SparkOwl that made it, or a newer one."
        )
    if schema.oldest_version > VERSION:
        raise NewerDatabase(
            f"{name} has tables of version {schema.version}, and this SparkOwl knows those up to "
            f"{VERSION}. They need SparkOwl {schema.oldest_server} or newer: start such a one, or "
            "restore the backup that was made before the upgrade."
        )
    return True


def _schema(connection: Connection) -> _Schema | None:
    """None: the database is older than the table, or no database of ours."""
    if not inspect(connection).has_table(tables.schema.name):
        return None
    row = connection.execute(select(tables.schema)).one_or_none()
    return None if row is None else _Schema(*row)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    return config

"""Reading the database from outside the server, for an operator's commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl.store import migrate
from sparkowl.store.engine import Place, UnusableDatabase, open_database


class NoDatabase(Exception):
    """There is none, or it is not of this version; the text says what to do."""


def look(place: Place) -> str:
    """A sentence on a database that a server could use now; :class:`NoDatabase` otherwise."""
    with _viewing(place) as (connection, name):
        if migrate.is_current(connection, name):
            return name
        return f"{name}; the next start brings its tables up to date"


@contextmanager
def reading(place: Place) -> Iterator[Connection]:
    """A connection that cannot write, with one view of the data for its whole life.

    A server that runs goes on writing meanwhile.
    """
    if isinstance(place, Path) and not place.is_file():
        raise NoDatabase(
            f"There is no database {place}: no server has run there yet. "
            "Start one with: sparkowl serve"
        )
    with _viewing(place) as (connection, name):
        if not migrate.is_current(connection, name):
            raise NoDatabase(
                f"{name} is of another version of SparkOwl. Start this version's server on it "
                "once, or use the version that made it."
            )
        yield connection


@contextmanager
def _viewing(place: Place) -> Iterator[tuple[Connection, str]]:
    """The connection, and the database's name for people."""
    try:
        database = open_database(place)
    except UnusableDatabase as error:
        raise NoDatabase(str(error)) from error
    try:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(database.read_only)
            connection.exec_driver_sql(database.begin_view)
            yield connection, database.name
            connection.rollback()
    except migrate.NewerDatabase as error:
        raise NoDatabase(str(error)) from error
    except DatabaseError as error:
        raise NoDatabase(f"{database.name} cannot be read: {error.orig}.") from error
    finally:
        database.engine.dispose()

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
    try:
        database = open_database(place)
    except UnusableDatabase as error:
        raise NoDatabase(str(error)) from error
    try:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(database.read_only)
            connection.exec_driver_sql(database.begin_view)
            if not migrate.is_current(connection, database.name):
                raise NoDatabase(
                    f"{database.name} is of another version of SparkOwl. Start this version's "
                    "server on it once, or use the version that made it."
                )
            yield connection
            connection.exec_driver_sql("ROLLBACK")
    except migrate.NewerDatabase as error:
        raise NoDatabase(str(error)) from error
    except DatabaseError as error:
        raise NoDatabase(f"{database.name} cannot be read: {error.orig}.") from error
    finally:
        database.engine.dispose()

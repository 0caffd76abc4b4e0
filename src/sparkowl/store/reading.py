"""Reading the database of a data directory from outside the server, for an operator's commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl.store import migrate
from sparkowl.store.engine import sqlite_engine


class NoDatabase(Exception):
    """There is none, or it is not of this version; the text says what to do."""


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """A connection that cannot write, with one view of the data for its whole life.

    A server that runs goes on writing meanwhile (WAL).
    """
    if not path.is_file():
        raise NoDatabase(
            f"There is no database {path}: no server has run there yet. "
            "Start one with: sparkowl serve"
        )
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")
            if not migrate.is_current(connection):
                raise NoDatabase(
                    f"{path} is of another version of SparkOwl. Start this version's server on it "
                    "once, or use the version that made it."
                )
            yield connection
            connection.exec_driver_sql("ROLLBACK")
    except DatabaseError as error:
        raise NoDatabase(f"{path} cannot be read: {error.orig}.") from error
    finally:
        engine.dispose()

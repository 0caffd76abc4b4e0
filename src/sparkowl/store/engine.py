"""The two databases that a store can be on, and what differs between them.

On both, one writer at a time: SQLite has it so; on PostgreSQL each batch of writes first takes one
advisory lock, the same for all servers. The rules on limits, the queue and tokens read before they
write, and rest on it; the batch pays one lock and one flush for many writes.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

#: The file of an SQLite database, or the URL of a PostgreSQL database.
Place = Path | str

#: Of the advisory lock of whoever writes: "sparkowl" in ASCII.
WRITER_LOCK: Final = 0x737061726B6F776C
#: What libpq gets unless the URL says otherwise. A server that is gone without a word is noticed.
_LIBPQ: Final = {
    "application_name": "sparkowl",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
#: Milliseconds. A statement of ours takes a few; a writer that is frozen in the middle of a batch
#: loses its lock, so that the other servers can go on.
_TIMEOUTS: Final = {
    "statement_timeout": 30_000,
    "lock_timeout": 20_000,
    "idle_in_transaction_session_timeout": 10_000,
}
#: Seconds. For another process's lock.
_SQLITE_WAITS_S: Final = 10.0
_SQLITE_AGAIN_S: Final = 0.01
_LOCK: Final = f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"
#: Within a transaction that may take long.
PATIENTLY: Final = "; ".join(f"SET LOCAL {name} = 0" for name in _TIMEOUTS)


class UnusableDatabase(Exception):
    """The database cannot be used; the text says why and what to do, without a password."""


@dataclass(frozen=True, slots=True)
class Database:
    """An engine, and the words that its transactions begin with."""

    engine: Engine
    #: For people: a file, or a URL without its password.
    name: str
    #: Begins a transaction of the only writer.
    begin: str
    #: Begins one that makes tables, which may take long.
    begin_migration: str
    #: Begins a transaction with one view of the data.
    begin_view: str
    #: Makes a connection one that cannot write.
    read_only: str
    #: Threads that read. 0: reads take so little that the caller's own thread does them.
    readers: int


def open_database(place: Place) -> Database:
    """The database at a place. Nothing is connected to yet."""
    return sqlite(place) if isinstance(place, Path) else postgresql(place)


def name_of(place: Place) -> str:
    """What people are shown: a file, or a URL without its password."""
    return open_database(place).name


def sqlite(path: Path) -> Database:
    return Database(
        engine=sqlite_engine(path),
        name=str(path),
        begin="BEGIN IMMEDIATE",
        begin_migration="BEGIN IMMEDIATE",
        begin_view="BEGIN",
        read_only="PRAGMA query_only = ON",
        readers=0,
    )


def postgresql(url: str) -> Database:
    """The URL is libpq's: several hosts, ``sslmode``, ``passfile``, ... mean what they mean there.

    Raises :class:`UnusableDatabase` for a URL that is none, and without psycopg.
    """
    try:
        import psycopg
        from psycopg import conninfo
    except ImportError as error:
        raise UnusableDatabase(
            "[store] url names a PostgreSQL database, and its driver is not installed: "
            f"pip install 'sparkowl[postgresql]' ({error})."
        ) from error
    try:
        given: dict[str, Any] = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # Without the error: libpq's text repeats the URL, and the password in it.
        raise UnusableDatabase(
            "[store] url is not a URL of PostgreSQL: postgresql://user@host:5432/database"
        ) from None
    timeouts = " ".join(f"-c {name}={value}" for name, value in _TIMEOUTS.items())
    options = f"{timeouts} {given.pop('options', '')}".strip()

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(**{**_LIBPQ, **given, "options": options}, autocommit=True)

    engine = create_engine(
        "postgresql+psycopg://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    return Database(
        engine=engine,
        name=_shown(given),
        begin=f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCK}",
        begin_migration=f"BEGIN; {PATIENTLY}; {_LOCK}",
        begin_view="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        read_only="SET default_transaction_read_only = on",
        readers=4,
    )


def sqlite_engine(path: Path) -> Engine:
    """An engine whose transactions are ours alone: pysqlite's own are switched off.

    ``synchronous = FULL``: what was acknowledged survives a power cut as well.
    """
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_SQLITE_WAITS_S * 1000:.0f}")
        _write_ahead(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. Of several that do so at once, SQLite may refuse one without a wait:
    those would wait for each other's shared lock (https://sqlite.org/c3ref/busy_handler.html)."""
    until = time.monotonic() + _SQLITE_WAITS_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_SQLITE_AGAIN_S)
        else:
            return


def _shown(given: dict[str, Any]) -> str:
    """A URL of what a person would look for; libpq's other words stay out, as some are secret."""
    user = f"{given['user']}@" if "user" in given else ""
    port = f":{given['port']}" if "port" in given else ""
    return f"postgresql://{user}{given.get('host', '')}{port}/{given.get('dbname', '')}"

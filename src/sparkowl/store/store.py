"""Opening the store, and its two ways in.

Writes queue for one thread, which commits all that wait in one transaction, so that many small
writes share one flush to disk (:mod:`sparkowl.store.writer`). Reads of SQLite run at once, on a
connection of the event loop's own thread (some tens of microseconds, WAL keeps them off the
writer's way); those of PostgreSQL wait for a server, so a few threads do them
(:mod:`sparkowl.store.readers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import ResourceClosedError

from sparkowl.store import migrate
from sparkowl.store.engine import Database, Place, open_database
from sparkowl.store.readers import Readers
from sparkowl.store.writer import Job, Writer

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Calls that may wait, of each kind; past it, callers wait for a place. Bounds memory when the disk
#: or the database is slow.
QUEUE_LENGTH: Final = 1_000


class Store:
    """The database, with its two ways in. Made by :meth:`open`, ended by :meth:`close`.

    A call on a database that is away raises SQLAlchemy's ``OperationalError``; calls work again
    when it is back. So does a write whose COMMIT was not answered: it may have been made.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = Writer(database)
        self._places = asyncio.Semaphore(QUEUE_LENGTH)
        self._reading_places = asyncio.Semaphore(QUEUE_LENGTH)
        self._readers: Readers | None = None
        self._reader: Connection | None = None
        self._closed = False
        if database.readers:
            self._readers = Readers(database)
        else:
            self._reader = database.engine.connect()
            self._reader.exec_driver_sql(database.read_only)

    @classmethod
    def open(cls, place: Place) -> Self:
        """Open the database, and bring its tables up to date; an SQLite file is made if need be.

        Raises :class:`sparkowl.store.engine.UnusableDatabase` or SQLAlchemy's ``DatabaseError``.
        """
        migrate.upgrade(place)
        return cls(open_database(place))

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on committed data. It must not write, and must be quick.

        It may be run twice, and in another thread.
        """
        if self._reader is not None:
            return work(self._reader)
        assert self._readers is not None
        async with self._reading_places:
            self._require_open()
            job = Job(work, asyncio.get_running_loop())
            self._readers.put(job)
            result: T = await job.done
            return result

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction; when this returns, it is committed.

        An error of ``work`` undoes what it wrote, and is raised here.
        """
        async with self._places:
            self._require_open()
            job = Job(work, asyncio.get_running_loop())
            self._writer.put(job)
            result: T = await job.done
            return result

    def close(self) -> None:
        """End when what waits is done; later calls raise."""
        self._closed = True
        self._writer.close()
        if self._readers is not None:
            self._readers.close()
        if self._reader is not None:
            self._reader.close()
        self._database.engine.dispose()

    def _require_open(self) -> None:
        """Nobody would ever do what is asked for now."""
        if self._closed:
            raise ResourceClosedError("The store is closed.")

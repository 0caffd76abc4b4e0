"""Opening the store, and its transactions.

SQLite wants one writer. Reads run at once, on a connection of the event loop's own thread (some
tens of microseconds, WAL keeps them off the writer's way). Writes queue for one thread, which
commits all that wait in one transaction, so that many small writes share one flush to disk.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from sparkowl.store import migrate
from sparkowl.store.engine import sqlite_engine

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Writes that may wait; past it, callers wait for a place. Bounds memory when the disk is slow.
QUEUE_LENGTH: Final = 1_000
#: Writes in one commit. Bounds how long the first of them waits for the others.
BATCH_LENGTH: Final = 64


class Store:
    """The database, with its two ways in. Made by :meth:`open`, ended by :meth:`close`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.connect()
        self._reader.exec_driver_sql("PRAGMA query_only = ON")
        self._writer = _Writer(engine)
        self._places = asyncio.Semaphore(QUEUE_LENGTH)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or make the database file and bring its tables up to date."""
        migrate.upgrade(path)
        return cls(sqlite_engine(path))

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on committed data. It must not write, and must be quick."""
        return work(self._reader)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction; when this returns, it is committed.

        An error of ``work`` undoes what it wrote, and is raised here.
        """
        async with self._places:
            job = _Job(work, asyncio.get_running_loop())
            self._writer.put(job)
            result: T = await job.done
            return result

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._engine.dispose()


class _Job:
    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        #: The writer logs on behalf of the caller: with the caller's request id.
        self.context = copy_context()
        self.done: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class _Writer:
    """One thread, one connection, many writes in a commit."""

    def __init__(self, engine: Engine) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = engine.connect()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, job: _Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch = [first]
            ending = False
            while len(batch) < BATCH_LENGTH and not ending:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    ending = True
                else:
                    batch.append(job)
            self._commit(batch)
            for job in batch:
                # A caller whose event loop has ended does not wait any more.
                with suppress(RuntimeError):
                    job.loop.call_soon_threadsafe(job.deliver)
            if ending:
                return

    def _commit(self, batch: list[_Job]) -> None:
        connection = self._connection
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for job in batch:
                self._run_one(job)
            connection.exec_driver_sql("COMMIT")
            # SQLAlchemy counts a transaction of its own since the first statement.
            connection.commit()
        except BaseException as error:  # noqa: BLE001  it is handed to every caller
            # A line, not a traceback: on a full disk this happens at every call.
            log.error("store commit failed", extra={"why": str(error).splitlines()[0]})  # noqa: TRY400
            connection.rollback()
            for job in batch:
                job.error = error

    def _run_one(self, job: _Job) -> None:
        self._connection.exec_driver_sql("SAVEPOINT one")
        try:
            job.result = job.context.run(job.work, self._connection)
        except BaseException as error:  # noqa: BLE001  it is handed to the caller
            self._connection.exec_driver_sql("ROLLBACK TO one")
            job.error = error
        self._connection.exec_driver_sql("RELEASE one")

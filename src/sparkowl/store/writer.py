"""The thread that writes, and what it is given to do."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sparkowl.store.engine import Database

log = logging.getLogger(__name__)

#: Writes in one commit. Bounds how long the first of them waits for the others.
BATCH_LENGTH: Final = 64


class Job:
    """Work for a thread, and the caller who waits for it in an event loop."""

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        #: The thread logs on behalf of the caller: with the caller's request id.
        self.context = copy_context()
        self.done: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self._loop = loop

    def run(self, connection: Connection) -> None:
        """Keep the result, or the error."""
        self.error = None
        try:
            self.result = self.context.run(self.work, connection)
        except BaseException as error:  # noqa: BLE001  it is handed to the caller
            self.error = error

    @property
    def lost_connection(self) -> bool:
        """Whether the error is that the database hung up."""
        return isinstance(self.error, DBAPIError) and self.error.connection_invalidated

    def answer(self) -> None:
        """Hand the result to the caller. One whose event loop has ended does not wait any more."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Writer:
    """One thread, one connection, many writes in a commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection = database.engine.connect()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """End when what waits is written."""
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
                job.answer()
            if ending:
                return

    def _commit(self, batch: list[Job]) -> None:
        """What no COMMIT was answered for is an error to its callers: whether it is in the database
        nobody knows, and their tokens make it safe to ask again."""
        try:
            self._begin()
            for job in batch:
                self._run_one(job)
            self._connection.exec_driver_sql("COMMIT")
            # SQLAlchemy counts a transaction of its own since the first statement.
            self._connection.commit()
        except BaseException as error:  # noqa: BLE001  it is handed to every caller
            # A line, not a traceback: on a full disk this happens at every call.
            log.error("store commit failed", extra={"why": str(error).splitlines()[0]})  # noqa: TRY400
            self._undo()
            for job in batch:
                job.error = error

    def _begin(self) -> None:
        """Begin, once more if the connection was lost since the last batch: nothing has run yet."""
        try:
            self._connection.exec_driver_sql(self._database.begin)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            log.warning("store connection lost", extra={"database": self._database.name})
            self._undo()
            self._connection.exec_driver_sql(self._database.begin)

    def _undo(self) -> None:
        """Leave nothing of the transaction; a connection that is of no more use is made anew at the
        next statement."""
        try:
            self._connection.rollback()
        except SQLAlchemyError:
            self._connection.invalidate()
            self._connection.rollback()

    def _run_one(self, job: Job) -> None:
        self._connection.exec_driver_sql("SAVEPOINT one")
        job.run(self._connection)
        if job.error is not None:
            if job.lost_connection:
                # The whole batch is lost with it; other errors are the caller's alone.
                raise job.error
            self._connection.exec_driver_sql("ROLLBACK TO one")
        self._connection.exec_driver_sql("RELEASE one")

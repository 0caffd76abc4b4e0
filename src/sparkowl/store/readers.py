"""The threads that read, where a read means to wait for a database server."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from sparkowl.store.engine import Database
from sparkowl.store.writer import Job

log = logging.getLogger(__name__)

#: A read that met a lost connection is made once more: it changed nothing.
_TRIES: Final = 2


class Readers:
    """A few threads, each with a connection that cannot write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"store-reader-{number}", daemon=True)
            for number in range(database.readers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """End when what waits is read."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        while (job := self._jobs.get()) is not None:
            connection = self._read(job, connection)
            job.answer()
        if connection is not None:
            connection.close()

    def _read(self, job: Job, connection: Connection | None) -> Connection | None:
        """Do one job; the connection for the next one, None where it was lost."""
        for _ in range(_TRIES):
            try:
                connection = connection or self._connect()
            except SQLAlchemyError as error:
                job.error = error
                return None
            job.run(connection)
            # Ends what SQLAlchemy counts as a transaction; each statement was one of its own.
            connection.rollback()
            if not job.lost_connection:
                return connection
            log.warning("store connection lost", extra={"database": self._database.name})
            connection.close()
            connection = None
        return None

    def _connect(self) -> Connection:
        connection = self._database.engine.connect()
        try:
            connection.exec_driver_sql(self._database.read_only)
        except SQLAlchemyError:
            connection.close()
            raise
        return connection

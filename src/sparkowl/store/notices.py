"""Signals between servers over PostgreSQL. Loaded only where the store is there: its driver is an
extra."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import sql

from sparkowl.store.signals import Hear

log = logging.getLogger(__name__)

_CHANNEL: Final = "sparkowl"
#: Between two tries to reach the database.
_PAUSE_S: Final = 1.0
#: How soon the listener notices that it is to end.
_LISTEN_S: Final = 0.5
#: A database that is gone without a word is noticed.
_LIBPQ: Final[dict[str, Any]] = {
    "application_name": "sparkowl signals",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class PostgresSignals:
    """``LISTEN`` and ``NOTIFY``, each on a connection of its own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._speaking = threading.Lock()
        self._speaker: psycopg.Connection | None = None
        self._ending = threading.Event()
        self._listener: threading.Thread | None = None

    def listen(self, hear: Hear) -> None:
        loop = asyncio.get_running_loop()

        def run() -> None:
            while not self._ending.is_set():
                try:
                    self._listen(loop, hear)
                except psycopg.Error as error:
                    why = str(error).strip().partition("\n")[0]
                    log.warning("no words from other servers", extra={"why": why})
                    self._ending.wait(_PAUSE_S)

        self._listener = threading.Thread(target=run, name="store-signals", daemon=True)
        self._listener.start()

    def _listen(self, loop: asyncio.AbstractEventLoop, hear: Hear) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(_CHANNEL)))
            while not self._ending.is_set():
                for word in connection.notifies(timeout=_LISTEN_S):
                    # A server whose event loop has ended hears nothing more.
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(hear, word.payload)

    async def say(self, key: str) -> None:
        await asyncio.to_thread(self._say, key)

    def _say(self, key: str) -> None:
        with self._speaking:
            try:
                if self._speaker is None:
                    self._speaker = self._connect()
                self._speaker.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, key))
            except psycopg.Error as error:
                why = str(error).strip().partition("\n")[0]
                log.warning("other servers were not told", extra={"why": why})
                if self._speaker is not None:
                    self._speaker.close()
                    self._speaker = None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._conninfo, autocommit=True, **_LIBPQ)

    def close(self) -> None:
        self._ending.set()
        if self._listener is not None:
            self._listener.join()
        with self._speaking:
            if self._speaker is not None:
                self._speaker.close()
                self._speaker = None

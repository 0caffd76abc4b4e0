"""Words between the servers that share a database: "look at this key". Not for what must not be
lost: whoever misses a word looks by itself a little later."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import psycopg
from psycopg import sql

log = logging.getLogger(__name__)

Hear = Callable[[str], object]

_CHANNEL: Final = "sparkowl"
#: Between two tries to reach the database.
_PAUSE_S: Final = 1.0
#: How soon the listener notices that it is to end.
_LISTEN_S: Final = 1.0


class Signals(Protocol):
    """What is said reaches every server that listens, perhaps the one that said it as well."""

    def listen(self, hear: Hear) -> None:
        """Call ``hear`` in the running event loop for each word from now on."""
        ...

    async def say(self, key: str) -> None:
        """Say it after the commit of what it is about. A word that gets lost is no error."""
        ...

    def close(self) -> None: ...


class NoSignals:
    """There is no other server."""

    def listen(self, hear: Hear) -> None:
        pass

    async def say(self, key: str) -> None:
        pass

    def close(self) -> None:
        pass


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
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
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
                    self._speaker = psycopg.connect(self._conninfo, autocommit=True)
                self._speaker.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, key))
            except psycopg.Error as error:
                why = str(error).strip().partition("\n")[0]
                log.warning("other servers were not told", extra={"why": why})
                if self._speaker is not None:
                    self._speaker.close()
                    self._speaker = None

    def close(self) -> None:
        self._ending.set()
        if self._listener is not None:
            self._listener.join()
        with self._speaking:
            if self._speaker is not None:
                self._speaker.close()
                self._speaker = None

"""Signals between the servers that share a database: "look at this key". Not for what must not
be lost: whoever misses one looks by itself a little later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Hear = Callable[[str], object]


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


def open_signals(database: Path | str) -> Signals:
    """Signals of the servers that share a database: the URL of PostgreSQL, or a file of one
    server's own."""
    if not isinstance(database, str):
        return NoSignals()
    from sparkowl.store.notices import PostgresSignals

    return PostgresSignals(database)

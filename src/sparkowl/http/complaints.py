"""The HTTP server's own log, bounded: anybody can make it complain, as often as they like.

Uvicorn and websockets log each request that they cannot read, some with a traceback, before anybody
has shown a key. Of each kind one line is let through in a while; the next says how many were not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Both of them log here.
LOGGER: Final = "uvicorn.error"
_EVERY_S: Final = 10.0


class Seldom(logging.Filter):
    """Lets a message through once in ten seconds; a message is its sentence and its exception."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._said: dict[tuple[str, type | None], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is asyncio.CancelledError:
            # The server's stop cut a call short: the audit log has it.
            return False
        key, now = (record.msg, kind), self._now()
        at, unsaid = self._said.get(key, (now - _EVERY_S, 0))
        if now - at < _EVERY_S:
            self._said[key] = (at, unsaid + 1)
            return False
        self._said[key] = (now, 0)
        record.not_logged = unsaid or None
        return True


@contextmanager
def few() -> Iterator[None]:
    """Bound the log of the HTTP server for the block."""
    logger, seldom = logging.getLogger(LOGGER), Seldom()
    logger.addFilter(seldom)
    try:
        yield
    finally:
        logger.removeFilter(seldom)

"""Facts that the server has not acknowledged yet, in order.

Each is also a file in the driver's ``outbox`` folder until it is acknowledged, so that what
happened can still be read there when the agent dies first.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Fact, encode


class Outbox:
    def __init__(self, folder: Path, leftovers: Leftovers) -> None:
        self._folder = folder
        self._leftovers = leftovers
        self._numbers = count(1)
        self._facts: dict[int, Fact] = {}
        #: Set when there is something new to send.
        self.changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, kind: type[Fact], **values: Any) -> None:
        seq = next(self._numbers)
        fact = kind(seq=seq, **values)
        self._facts[seq] = fact
        with suppress(OSError):  # a full disk: the fact still goes over the link
            self._file(seq).write_text(encode(fact))
        self._empty.clear()
        self.changed.set()

    def after(self, seq: int) -> list[Fact]:
        """The unacknowledged facts that follow ``seq``, oldest first."""
        return [fact for number, fact in self._facts.items() if number > seq]

    def acknowledge(self, seq: int) -> None:
        for number in [number for number in self._facts if number <= seq]:
            del self._facts[number]
            # Not worth the link: the server has it, and the file goes when it can.
            self._leftovers.remove(self._file(number))
        if not self._facts:
            self._empty.set()

    async def emptied(self, within_s: float) -> bool:
        """Wait until the server has everything; False when it did not take it in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        return self._empty.is_set()

    def _file(self, seq: int) -> Path:
        return self._folder / f"{seq:08d}.json"

"""What was written to a page and not acknowledged: it may have died with the server on its way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: What is under way to a page that keeps up is far less; one that lags so much may miss the oldest.
_MOST_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a WebSocket."""

    content: str | bytes
    binary: bool


class Unseen:
    """Of one connection. Each frame has a number, from 1, as who reads them counts them."""

    def __init__(self, *, acknowledged: bool = False) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._sent = 0
        #: A server of before the first acknowledgement existed sends none: then nothing is known.
        self._acknowledged = acknowledged

    def add(self, frame: Frame) -> None:
        self._sent += 1
        self._frames.append(frame)
        self._bytes += len(frame.content)
        while self._bytes > _MOST_BYTES:
            self._drop()

    def taken(self, number: int) -> None:
        """The page has this frame, and so all before it."""
        self._acknowledged = True
        while self._frames and self._sent - len(self._frames) < number:
            self._drop()

    def drain(self) -> list[Frame]:
        """What the page does not have, oldest first; forgotten here."""
        frames = list(self._frames) if self._acknowledged else []
        self._frames.clear()
        self._bytes = 0
        return frames

    def _drop(self) -> None:
        self._bytes -= len(self._frames.popleft().content)

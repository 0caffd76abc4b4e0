"""What a connection may take: sizes, times, and the pace at which bytes must move.

Times are seconds of a clock that only goes forward. Nothing here touches a socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sparkowl.domain.errors import Throttled

#: Requests that a client may send before it has the answer to the first.
PIPELINED: Final = 16
#: A refusal is still readable this long after it was sent; a client in the middle of sending would
#: lose it to a reset otherwise.
LINGER_S: Final = 2.0
#: A body that nobody wants any more, because the answer was sent, may go on for this long.
UNWANTED_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of one port; ``sparkowl.config.http`` says what each is for."""

    connections: int = 1_000
    head_bytes: int = 64 * 1024
    headers: int = 200
    head_s: float = 15.0
    keep_alive_s: float = 60.0
    stall_s: float = 60.0
    least_bytes_per_s: float = 500.0
    pace_s: float = 60.0

    @property
    def refusable(self) -> int:
        """Connections above the limit that get an answer; any further one is only closed."""
        return max(8, self.connections // 32)

    @property
    def look_s(self) -> float:
        """How often connections are looked at."""
        return min(1.0, min(self.head_s, self.stall_s, self.pace_s) / 4)


class Pace:
    """Whether bytes move as fast as they must, one way, while they could."""

    __slots__ = ("_began_at", "_began_with", "_last", "_moved_at", "_running")

    def __init__(self) -> None:
        self._running = False
        self._began_at = self._moved_at = 0.0
        self._began_with = self._last = 0

    def rest(self) -> None:
        """Nothing needs to move now; a new measurement begins afterwards."""
        self._running = False

    def too_slow(self, now: float, moved: int, bounds: Bounds) -> bool:
        """``moved``: bytes so far. A number that falls means a new beginning."""
        if not self._running or moved < self._last:
            self._running = True
            self._began_at = self._moved_at = now
            self._began_with = self._last = moved
            return False
        if moved > self._last:
            self._last, self._moved_at = moved, now
        if now - self._moved_at >= bounds.stall_s:
            return True
        if now - self._began_at < bounds.pace_s:
            return False
        least = bounds.least_bytes_per_s * (now - self._began_at)
        if moved - self._began_with < least:
            return True
        self._began_at, self._began_with = now, moved
        return False


class InFlight:
    """Bytes of request bodies that are in memory, of all requests together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.bytes = 0

    def take(self, size: int) -> None:
        """Make room, or raise :class:`Throttled`: every SDK then tries again, later."""
        if self.bytes + size > self._limit_bytes:
            raise Throttled("Too many large requests at once; try again.")
        self.bytes += size

    def give(self, size: int) -> None:
        self.bytes -= size

"""Servers that share a database: each has a lease, and loses what it has when the lease runs out.

The lease is the server's row, renewed every few seconds. Whether it was renewed is judged by the
observer's own monotonic clock: a clock that somebody sets ends no lease.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sparkowl.domain.ids import ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A process, named for ever: ids of processes are used again, start times are not."""

    host: str
    #: Another one after each start of the machine.
    boot: str
    pid: int
    #: Clock ticks since the machine's start.
    started_at: int
    #: The data directory: keys, buckets, the folders of drivers.
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One row of ``servers``."""

    id: ServerId
    #: Where it listens.
    url: str
    place: Place
    started_at: datetime
    expires_at: datetime


def elsewhere(peer: Server, here: Place, now: datetime) -> bool:
    """The server seems to live on another machine, where its drivers are out of our reach."""
    return not _neighbours(peer.place, here) and now < peer.expires_at


def _neighbours(one: Place, other: Place) -> bool:
    return (one.host, one.boot) == (other.host, other.boot)


@dataclass(slots=True)
class Watch:
    """Tells which of the other servers are dead, from what it saw of them before."""

    here: Place
    lease: timedelta
    #: Whether a process of this machine lives.
    lives: Callable[[Place], bool]
    _seen: dict[ServerId, tuple[datetime, float]] = field(default_factory=dict)
    _looked: float | None = None

    def dead(self, peers: Collection[Server], now: datetime, monotonic: float) -> list[Server]:
        """Those whose process is gone, and those that did not renew for as long as a lease lasts.

        An observer that slept itself knows nothing of the time between: it begins anew.
        """
        lease_s = self.lease / timedelta(seconds=1)
        if self._looked is not None and monotonic - self._looked > lease_s / 2:
            self._seen.clear()
        self._looked = monotonic
        before, self._seen = self._seen, {}
        dead = []
        for peer in peers:
            expires_at, since = before.get(peer.id, (peer.expires_at, monotonic))
            if expires_at != peer.expires_at:
                since = monotonic
            self._seen[peer.id] = peer.expires_at, since
            if self._gone(peer, now) or monotonic - since >= lease_s:
                dead.append(peer)
        return dead

    def _gone(self, peer: Server, now: datetime) -> bool:
        if _neighbours(peer.place, self.here):
            return not self.lives(peer.place)
        # From before the machine's last start, usually; one that lives would have been refused.
        return now >= peer.expires_at

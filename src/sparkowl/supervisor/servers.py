"""The servers that share the database: this one's lease, and taking over from those that died."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from sparkowl.clock import Clock
from sparkowl.domain.ids import ServerId
from sparkowl.domain.server import Place, Server, Watch, elsewhere
from sparkowl.launchers import processes
from sparkowl.store import Store, servers
from sparkowl.store.servers import Estate

log = logging.getLogger(__name__)

#: How often the other servers are looked at: one that was killed is missed this soon.
LOOK_S: Final = 1.0
#: Of each lease, this many renewals may come late.
RENEWALS: Final = 3
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ServerElsewhere(Exception):
    """A server that cannot share what we have uses the database; the text says what to do."""


class Servers:
    """This server among the others: :meth:`join`, then :meth:`tend` each second, at last
    :meth:`leave`."""

    def __init__(  # noqa: PLR0913 - all by name, and each a different thing
        self,
        store: Store,
        clock: Clock,
        server: ServerId,
        *,
        url: str,
        place: Place,
        lease: timedelta,
        alone: bool,
        lives: Callable[[Place], bool],
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        """``alone``: no other server can use the database, so each that left a row is dead.

        ``announce`` is called after a server died: what pointed to it must point here.
        """
        self._store = store
        self._clock = clock
        now = clock.now()
        self._me = Server(id=server, url=url, place=place, started_at=now, expires_at=now)
        self._lease = lease
        self._alone = alone
        self._announce = announce
        self._watch = Watch(here=place, lease=lease, lives=lives)
        self._renewed = clock.monotonic()

    @property
    def id(self) -> ServerId:
        return self._me.id

    @property
    def alone(self) -> bool:
        return self._alone

    async def join(self) -> int:
        """Write this server's row; how many others live. Raises :class:`ServerElsewhere` for one on
        another machine, or with another data directory: neither could go on with the other's
        drivers."""
        others = await self._others()
        if not self._alone:
            for other in others:
                if elsewhere(other, self._me.place, self._clock.now()):
                    raise ServerElsewhere(
                        f"A SparkOwl on {other.place.host} ({other.url}) uses this database. "
                        "Servers that share a database must run on one machine: their drivers do. "
                        f"If that one is gone, try again in {self._lease.total_seconds():g} s."
                    )
        dead = self._dead(others)
        living = [other for other in others if other not in dead]
        for other in living:
            if other.place.folder != self._me.place.folder:
                raise ServerElsewhere(
                    f"The SparkOwl at {other.url} uses this database with the data directory "
                    f"{other.place.folder}. Servers that share a database must share that, too: "
                    f"give --data-dir {other.place.folder}, or another database."
                )
        await self._renew()
        return len(living)

    async def tend(self) -> Estate | None:
        """Renew the lease when it is time, and take over what the dead and the departed left."""
        await self.renew_in_time()
        dead = self._dead(await self._others())
        if not dead and not await self._store.read(servers.has_orphans):
            return None

        def write(tx: Connection) -> Estate:
            return servers.take_over(tx, self._me.id, dead)

        estate = await self._store.write(write)
        if dead:
            self._announce()
        for server in dead:
            extra = {"server": server.id, "url": server.url}
            log.warning("another server is gone; its sessions are ours", extra=extra)
        return estate

    async def peer(self) -> Server | None:
        """One of the other servers that live, if any."""
        others = await self._others()
        dead = self._dead(others)
        return next((other for other in others if other not in dead), None)

    async def renew_in_time(self) -> None:
        elapsed = timedelta(seconds=self._clock.monotonic() - self._renewed)
        if not self._alone and elapsed >= self._lease / RENEWALS:
            await self._renew()

    async def leave(self) -> Server | None:
        """Give up the lease and all that hangs on it; one of the servers that stay, if any."""
        await self._store.write(lambda tx: servers.remove(tx, self._me.id))
        return await self.peer()

    async def _renew(self) -> None:
        renewed = self._clock.monotonic()
        server = replace(self._me, expires_at=self._clock.now() + self._lease)

        def write(tx: Connection) -> bool:
            return servers.renew(tx, server)

        if not await self._store.write(write) and self._me.expires_at != self._me.started_at:
            log.warning("this server's lease had run out; what it had is another's now")
        self._me, self._renewed = server, renewed

    async def _others(self) -> list[Server]:
        found = await self._store.read(servers.list_all)
        return [server for server in found if server.id != self._me.id]

    def _dead(self, others: list[Server]) -> list[Server]:
        return (
            others
            if self._alone
            else self._watch.dead(others, self._clock.now(), self._clock.monotonic())
        )


def here(data_dir: Path) -> Place:
    """This process."""
    pid = int(Path("/proc/self").readlink().name)
    started_at = processes.started_at(pid)
    assert started_at is not None
    boot = _BOOT_ID.read_text().strip()
    return Place(
        host=platform.node(), boot=boot, pid=pid, started_at=started_at, folder=str(data_dir)
    )


def lives(place: Place) -> bool:
    """Whether a process of this machine, since its last start, is still there."""
    return processes.started_at(place.pid) == place.started_at

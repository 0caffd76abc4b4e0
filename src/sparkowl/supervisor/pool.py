"""The warm pool: drivers that are started before anybody asks.

A member waits, ready and warmed by a small query, until a session that fits takes it (the taking is
a row's change, in the transaction of StartSession). It serves that one session and is thrown away.
Members that die, fall silent or grow old are replaced.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from sparkowl.domain.driver import Driver, expired, fingerprint
from sparkowl.domain.ids import DriverId, new_driver_id
from sparkowl.domain.sparks import OWN
from sparkowl.launchers.base import LaunchError, LaunchSpec
from sparkowl.launchers.jars import JarsMissing
from sparkowl.store import drivers
from sparkowl.supervisor.endings import end_driver
from sparkowl.supervisor.jumps import Jumps
from sparkowl.supervisor.means import Means, bucket_folders
from sparkowl.supervisor.workqueue import Rest, Verdict, backoff_s

log = logging.getLogger(__name__)

#: How often members are looked at when nothing happens.
LOOK_S: Final = 5.0
#: While a member starts: it may die before it has a link to miss.
LOOK_STARTING_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How many drivers wait, how old they may get, and how long after one was taken the next one
    is started."""

    members: int
    max_age: timedelta
    pause: timedelta = timedelta()


class Pool:
    """Keeps as many members waiting as were asked for. Sessions that start go first."""

    def __init__(self, means: Means, jumps: Jumps, asked: PoolSize) -> None:
        self._means = means
        self._jumps = jumps
        self._size = asked.members
        self._max_age = asked.max_age
        self._pause_s = asked.pause / timedelta(seconds=1)
        #: Who waited at the last look.
        self._waited: set[DriverId] = set()
        self._failures = 0
        #: After a start that failed, the next one waits; longer each time.
        self._hold_until = means.clock.monotonic()

    async def reconcile(self, _key: str) -> Verdict:
        now = await self._jumps.settled()
        before = await self._members()
        if self._waited - {member.id for member in before}:
            # A session has taken one. What it does first shall not share the processors with the
            # start of another driver.
            paused_until = self._means.clock.monotonic() + self._pause_s
            self._hold_until = max(self._hold_until, paused_until)
        for member in before:
            why = await self._unfit(member, now)
            if why is not None:
                await self._discard(member, why)
        members = await self._members()
        self._waited = {member.id for member in members}
        starting = [member for member in members if member.ready_at is None]
        if len(starting) < len(members):
            self._failures = 0
        if len(members) >= self._size:
            return Rest(LOOK_STARTING_S if starting else LOOK_S)
        wait = self._hold_until - self._means.clock.monotonic()
        return Rest(wait) if wait > 0 else await self._launch()

    def close(self) -> None:
        """Start no more members."""
        self._size = 0

    async def drain(self) -> None:
        """End every member."""
        for member in await self._members():
            await end_driver(self._means, member, reason="The server stops.")

    async def _members(self) -> list[Driver]:
        live = await self._means.store.read(drivers.list_live)
        ours = self._means.server
        return [driver for driver in live if driver.session_id is None and driver.server == ours]

    async def _unfit(self, member: Driver, now: datetime) -> str | None:
        """Why the member must go; None: it may stay."""
        means = self._means
        if member.handle is None:
            return "it was never launched"
        if member.reason is not None:
            return member.reason
        observation = await means.launcher.observe(member.handle)
        if not observation.alive:
            return observation.ended or "it died"
        if expired(member, self._max_age, now):
            return "it is too old"
        if member.ready_at is None:
            late = now >= member.created_at + means.patience.start
            return "it was not ready in time" if late else None
        return None if means.links.linked(member.id) else "its link is gone"

    async def _discard(self, member: Driver, why: str) -> None:
        """A session may take the member at this moment; then it is the session's business."""

        def write(tx: Connection) -> bool:
            return drivers.withdraw(tx, member.id, f"Left the warm pool: {why}")

        if not await self._means.store.write(write):
            return
        if member.ready_at is None:
            self._hold()
        log.info("warm driver discarded", extra={"driver": member.id, "reason": why})
        await end_driver(self._means, member, reason=None)

    async def _launch(self) -> Verdict:
        means = self._means
        try:
            jars = means.jars
            class_path = await asyncio.to_thread(jars.class_path, (), None) if jars.always else ()
        except JarsMissing as error:
            return self._not_launched(error)
        new = Driver(
            id=new_driver_id(),
            session_id=None,
            fingerprint=fingerprint(OWN, {}),
            created_at=means.clock.now(),
            server=means.server,
        )

        def write(tx: Connection) -> bool:
            if not means.may_launch(tx) or means.next_in_line(tx) is not None:
                return False
            drivers.insert_driver(tx, new)
            return True

        if not await means.store.write(write):
            return Rest(LOOK_STARTING_S)
        spec = LaunchSpec(
            driver_id=new.id,
            engine_version=None,
            token=means.links.token(new.id),
            properties={},
            buckets=bucket_folders(means.files),
            warm=True,
            jupyter=means.jupyter_ahead,
            jupyter_token=means.links.jupyter_token(new.id),
            class_path=class_path,
        )
        try:
            handle = await means.launcher.launch(spec)
        except LaunchError as error:
            await end_driver(means, new, reason=str(error))
            return self._not_launched(error)
        await means.store.write(lambda tx: drivers.attach(tx, new.id, handle))
        return Rest(LOOK_STARTING_S)

    def _not_launched(self, why: Exception) -> Verdict:
        self._hold()
        log.warning("warm driver not launched", extra={"reason": str(why)})
        return Rest(0)

    def _hold(self) -> None:
        self._failures += 1
        self._hold_until = self._means.clock.monotonic() + backoff_s(self._failures)

"""The supervisor: owns the work queue and the pool, and knows how they start and stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from sparkowl.agent import messages
from sparkowl.domain import session as domain
from sparkowl.domain.budget import Budget
from sparkowl.domain.driver import Driver
from sparkowl.domain.errors import Conflict
from sparkowl.domain.ids import DriverId, SessionId
from sparkowl.objects.errors import ObjectError
from sparkowl.store import drivers, sessions
from sparkowl.supervisor import facts, outputs
from sparkowl.supervisor.budgets import Budgets
from sparkowl.supervisor.means import Means
from sparkowl.supervisor.pool import Pool
from sparkowl.supervisor.sessions import Sessions
from sparkowl.supervisor.workqueue import Done, Rest, Verdict, WorkQueue

log = logging.getLogger(__name__)

SERVER_STOPPED_REASON: Final = "Session was terminated because the server stopped"
_POOL: Final = "pool"
_BUDGETS: Final = "budgets"
_QUIET_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How many drivers wait, and how old they may get."""

    members: int
    max_age: timedelta


class Supervisor:
    """Keeps every session moving: :meth:`recover` first, then :meth:`run`, at last :meth:`stop`."""

    def __init__(self, means: Means, pool_size: PoolSize, budgets: Collection[Budget] = ()) -> None:
        self._means = means
        self._sessions = Sessions(means, self._wake_next)
        self._pool = Pool(means, pool_size.members, pool_size.max_age)
        self._budgets = Budgets(means, budgets) if budgets else None
        self._queue = WorkQueue(means.clock, self._work)
        means.links.listen(self._take, self._changed)

    def wake(self, session_id: SessionId) -> None:
        """A session's row has changed. A new session may have taken a warm driver with it."""
        if self._queue.wake(session_id):
            self._queue.wake(_POOL)

    async def recover(self) -> None:
        """Take up what an earlier server left: sessions go on, its warm drivers are ended."""
        means = self._means
        if self._budgets is not None:
            # First: what waits must not start before its budget was looked at.
            await self._budgets.reconcile()
        for driver in await means.store.read(drivers.list_live):
            if driver.session_id is None:
                await means.store.write(partial(_withdraw, driver.id))
            else:
                means.links.expect(driver.id)
                # Looking for it also tells it where this server listens.
                await means.launcher.find(driver.id)
                # Its session may have ended already, with the driver still to be stopped.
                self._queue.wake(driver.session_id)
        for session in await means.store.read(sessions.list_live):
            self._queue.wake(session.id)
        self._queue.wake(_POOL)
        if self._budgets is not None:
            self._queue.wake(_BUDGETS)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._queue.run()

    async def until_quiet(self) -> None:
        """Return when no driver is starting. The pool is given a moment to begin with its own."""
        starting = 1
        while starting:
            await self._means.clock.wait(asyncio.Event(), _QUIET_LOOK_S)
            starting = await self._means.store.read(drivers.count_starting)

    def retire(self) -> None:
        """The server is about to stop: links will close, and nothing new is to be started."""
        self._pool.close()

    async def stop(self, *, keep_sessions: bool) -> None:
        """After :meth:`run` ended: end the pool and, unless they are kept, the sessions.

        One that cannot be ended does not keep the others from it.
        """
        live = [] if keep_sessions else await self._means.store.read(sessions.list_live)
        ends = [self._pool.drain(), *(self._end(session.id) for session in live)]
        for outcome in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error("not ended", exc_info=outcome)

    async def _end(self, session_id: SessionId) -> None:
        now = self._means.clock.now()

        def write(tx: Connection) -> domain.Session:
            return sessions.change(
                tx,
                session_id,
                domain.Event.TERMINATE_ASKED,
                at=now,
                reason=SERVER_STOPPED_REASON,
            )

        await self._means.store.write(write)
        while not isinstance(await self._reconcile_now(session_id), Done):
            pass

    async def _reconcile_now(self, session_id: SessionId) -> Verdict:
        try:
            return await self._sessions.reconcile(session_id)
        except Conflict:
            return Rest(0)

    async def _work(self, key: str) -> Verdict:
        if key == _POOL:
            return await self._pool.reconcile(key)
        if key == _BUDGETS and self._budgets is not None:
            verdict, ending = await self._budgets.reconcile()
            for session_id in ending:
                self._queue.wake(session_id)
            return verdict
        verdict = await self._sessions.reconcile(key)
        if key not in self._sessions.waiting:
            await self._wake_next()
        return verdict

    async def _wake_next(self) -> None:
        """What moved may have made room, so whoever is next need not wait for its next look."""
        if self._sessions.waiting:
            waiting = await self._means.store.read(self._means.next_in_line)
            if waiting is not None:
                self._queue.wake(waiting)

    async def _take(self, driver: Driver, report: messages.Report) -> None:
        now = self._means.clock.now()
        await self._means.store.write(lambda tx: facts.take(tx, driver.id, report, now))
        # What no decision hangs on wakes nobody.
        if not isinstance(report, messages.Started | messages.Progress | messages.Executor):
            await self._changed(driver.id)
        if isinstance(report, messages.Adopted):
            await self._publish_timeline(report.session_id)

    async def _publish_timeline(self, session_id: str) -> None:
        session = await self._means.store.read(lambda tx: sessions.get(tx, session_id))
        try:
            await outputs.write_timeline(self._means.files, session)
        except (ObjectError, OSError) as error:
            log.warning("timeline not written", extra={"session": session_id, "why": str(error)})

    async def _changed(self, driver_id: DriverId) -> None:
        """Wake whoever has the driver: its session, or the pool."""
        driver = await self._means.store.read(lambda tx: drivers.get(tx, driver_id))
        assert driver is not None
        self._queue.wake(driver.session_id or _POOL)


def _withdraw(driver_id: DriverId, tx: Connection) -> None:
    drivers.withdraw(tx, driver_id, "An earlier server started it.")

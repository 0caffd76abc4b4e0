"""The supervisor: owns the work queue and the pool, and knows how they start and stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection

from sparkowl.agent import messages
from sparkowl.domain import session as domain
from sparkowl.domain.budget import Budget
from sparkowl.domain.driver import Driver
from sparkowl.domain.errors import Conflict
from sparkowl.domain.ids import DriverId, SessionId
from sparkowl.domain.reason import TERMINATED, Code, explain
from sparkowl.domain.server import Server
from sparkowl.objects.errors import ObjectError
from sparkowl.store import drivers, servers, sessions
from sparkowl.store.signals import Signals
from sparkowl.supervisor import facts, outputs
from sparkowl.supervisor import jumps as clock_jumps
from sparkowl.supervisor import servers as peers
from sparkowl.supervisor.budgets import Budgets
from sparkowl.supervisor.jumps import Jumps
from sparkowl.supervisor.means import Means
from sparkowl.supervisor.pool import Pool, PoolSize
from sparkowl.supervisor.servers import Servers
from sparkowl.supervisor.sessions import NotOurs, Sessions
from sparkowl.supervisor.workqueue import Done, Rest, Verdict, WorkQueue

log = logging.getLogger(__name__)

_POOL: Final = "pool"
_BUDGETS: Final = "budgets"
_SERVERS: Final = "servers"
_CLOCK: Final = "clock"
_STRAYS: Final = "strays"
_UNSENT: Final = "unsent"
#: A session that nobody looks after is missed this soon.
LOOK_FOR_STRAYS_S: Final = 15.0
_QUIET_LOOK_S: Final = 1.0


class Supervisor:
    """Keeps every session moving: :meth:`recover` first, then :meth:`run`, at last :meth:`stop`."""

    def __init__(
        self,
        means: Means,
        pool_size: PoolSize,
        servers: Servers,
        signals: Signals,
        budgets: Collection[Budget] = (),
    ) -> None:
        self._means = means
        self._servers = servers
        self._signals = signals
        self._jumps = Jumps(means)
        self._sessions = Sessions(means, self._jumps, self._wake_next, self._look_again)
        self._pool = Pool(means, self._jumps, pool_size)
        self._budgets = Budgets(means, budgets) if budgets else None
        self._queue = WorkQueue(means.clock, self._work, urgent={_SERVERS, _CLOCK})
        #: What somebody here wants to be looked at: if it is another server's, that one is told.
        self._asked: set[str] = set()
        #: Taken over, and not taken up yet.
        self._inherited: set[SessionId] = set()
        #: Timelines on their way.
        self._publishing: set[asyncio.Task[None]] = set()
        means.links.listen(self._take, self._changed)
        if means.unsent is not None:
            means.unsent.listen(lambda: self._look_again(_UNSENT))

    def wake(self, session_id: SessionId) -> None:
        """A session's row has changed, whichever server looks after it. A new session may have
        taken a warm driver with it."""
        self._asked.add(session_id)
        if self._queue.wake(session_id):
            self._queue.wake(_POOL)

    async def recover(self) -> None:
        """Take up what an earlier server left: sessions go on, its warm drivers are ended.

        After :meth:`Servers.join`.
        """
        if self._budgets is not None:
            # First: what waits must not start before its budget was looked at.
            _, ending = await self._budgets.reconcile()
            for session_id in ending:
                self.wake(session_id)
        await self._tend()
        self._queue.wake(_POOL)
        if self._budgets is not None:
            self._queue.wake(_BUDGETS)
        self._queue.wake(_SERVERS)
        self._queue.wake(_CLOCK)
        self._queue.wake(_STRAYS)
        if self._means.unsent is not None:
            self._queue.wake(_UNSENT)
        self._signals.listen(self._queue.wake)

    async def _tend(self) -> None:
        """Look after the lease, and take up what was taken over. A session that could not be taken
        up is tried again."""
        estate = await self._servers.tend()
        if estate is not None:
            self._inherited.update(estate.sessions)
            if estate.members:
                self._queue.wake(_POOL)
        if self._inherited:
            await self._take_up(tuple(self._inherited))

    async def _find_strays(self) -> None:
        """Take up what is this server's by the rows and unknown here: whoever wrote them (a start,
        a take-over) may have died or lost the database before the COMMIT was answered."""
        ours = await self._means.store.read(lambda tx: servers.sessions_of(tx, self._means.server))
        strays = [session_id for session_id in ours if not self._queue.knows(session_id)]
        if strays:
            await self._take_up(strays)

    async def _take_up(self, inherited: Collection[SessionId]) -> None:
        means = self._means

        def read(tx: Connection) -> list[Driver]:
            found = [drivers.of_session(tx, session_id) for session_id in inherited]
            return [driver for driver in found if driver is not None and driver.ended_at is None]

        left = await means.store.read(read)
        for driver in left:
            means.links.expect(driver.id)
        # Looking for them also tells them where this server listens.
        await means.launcher.find_all([driver.id for driver in left])
        self._inherited.difference_update(inherited)
        for session_id in inherited:
            self._queue.wake(session_id)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._queue.run()
        finally:
            await self._sessions.close()
            await asyncio.gather(*self._publishing, return_exceptions=True)

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
        renewing = asyncio.create_task(self._renew(), name="renew")
        try:
            await self._end_all(keep_sessions=keep_sessions)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self) -> None:
        """While sessions end, no other server shall think that this one is dead."""
        while True:
            await self._servers.renew_in_time()
            await self._means.clock.wait(asyncio.Event(), peers.LOOK_S)

    async def _end_all(self, *, keep_sessions: bool) -> None:
        live = [] if keep_sessions else await self._means.store.read(sessions.list_live)
        ours = [session.id for session in live if session.server == self._means.server]
        ends = [self._pool.drain(), *map(self._end, ours)]
        for outcome in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error("not ended", exc_info=outcome)

    async def leave(self) -> Server | None:
        """Hand what is left to the servers that stay, at once; one of them, if any."""
        staying = await self._servers.leave()
        if staying is not None:
            await self._signals.say(_SERVERS)
        return staying

    async def _end(self, session_id: SessionId) -> None:
        now = self._means.clock.now()

        def write(tx: Connection) -> domain.Session:
            return sessions.change(
                tx,
                session_id,
                domain.Event.TERMINATE_ASKED,
                at=now,
                reason=explain(Code.SERVER, "The server stopped.", sentence=TERMINATED),
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
                self.wake(session_id)
            return verdict
        if key == _SERVERS:
            await self._tend()
            return Rest(None if self._servers.alone else peers.LOOK_S)
        if key == _CLOCK:
            await self._jumps.settled()
            return Rest(clock_jumps.LOOK_S)
        if key == _STRAYS:
            await self._find_strays()
            return Rest(LOOK_FOR_STRAYS_S)
        if key == _UNSENT and self._means.unsent is not None:
            return await self._means.unsent.reconcile()
        return await self._look_at(key)

    def _look_again(self, key: str) -> None:
        self._queue.wake(key)

    async def _wake_next(self) -> None:
        """What moved may have made room, so whoever is next need not wait for its next look."""
        if self._sessions.waiting:
            waiting = await self._means.store.read(self._means.next_in_line)
            if waiting is not None:
                self.wake(waiting)

    async def _look_at(self, key: str) -> Verdict:
        verdict = await self._sessions.reconcile(key)
        # Not before: a look that failed is repeated, and has to say it then.
        asked = key in self._asked
        self._asked.discard(key)
        if isinstance(verdict, NotOurs):
            if asked:
                await self._signals.say(key)
        elif key not in self._sessions.waiting:
            await self._wake_next()
        return verdict

    async def _take(self, driver: Driver, report: messages.Report) -> bool:
        now = self._means.clock.now()

        def write(tx: Connection) -> bool:
            current = drivers.get(tx, driver.id)
            if current is None or servers.owner_of(tx, current) != self._means.server:
                return False
            facts.take(tx, driver.id, report, now)
            return True

        if not await self._means.store.write(write):
            return False
        # What no decision hangs on wakes nobody.
        if not isinstance(report, messages.Started | messages.Progress | messages.Executor):
            await self._changed(driver.id)
        if isinstance(report, messages.Adopted | messages.Restarted):
            # Nobody waits for it: a service may be away, and the link is not to stand still.
            task = asyncio.create_task(self._publish_timeline(driver.id), name="timeline")
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)
        return True

    async def _publish_timeline(self, driver_id: DriverId) -> None:
        def read(tx: Connection) -> domain.Session | None:
            # What was known when the driver dialled may be old: one of the pool had no session.
            driver = drivers.get(tx, driver_id)
            if driver is None or driver.session_id is None:
                return None
            return sessions.get(tx, driver.session_id)

        session = await self._means.store.read(read)
        if session is None:
            return
        try:
            await outputs.write_timeline(self._means.storage, session)
        except (ObjectError, OSError) as error:
            log.warning("timeline not written", extra={"session": session.id, "why": str(error)})

    async def _changed(self, driver_id: DriverId) -> None:
        """Wake whoever has the driver: its session, or the pool."""
        driver = await self._means.store.read(lambda tx: drivers.get(tx, driver_id))
        assert driver is not None
        self._queue.wake(driver.session_id or _POOL)

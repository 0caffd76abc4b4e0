"""Budgets over time: a warning when most of one is used, and an end for sessions past all of it.

Refusing new sessions is StartSession's own; it reads the same sum. Those that wait are held here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from sparkowl.domain import session as domain
from sparkowl.domain.budget import REFUSING, Budget, Standing
from sparkowl.domain.ids import SessionId
from sparkowl.domain.reason import Code, explain
from sparkowl.store import sessions, usage
from sparkowl.supervisor.means import Means
from sparkowl.supervisor.workqueue import Rest, Verdict

log = logging.getLogger(__name__)

#: A budget is overdrawn by what its sessions use in this time, at most.
LOOK_S: Final = 30.0


class Budgets:
    """Looks at every budget each half minute."""

    def __init__(self, means: Means, budgets: Collection[Budget]) -> None:
        self._means = means
        self._budgets = budgets
        #: What was logged already, so that each is logged once in a period.
        self._said: dict[tuple[str, Standing], datetime] = {}

    async def reconcile(self) -> tuple[Verdict, list[SessionId]]:
        """When to look again, and the sessions that were told to end."""
        ending: list[SessionId] = []
        for budget in self._budgets:
            now = self._means.clock.now()
            used = await self._means.store.read(partial(_used, budget, now))
            standing = budget.standing(used)
            self._hold(budget, standing)
            self._say(budget, standing, used, now)
            if standing is Standing.STOP:
                reason = explain(Code.QUOTA, budget.stop_reason(used, now))
                ending += await self._means.store.write(partial(_end_all, budget, now, reason))
        return Rest(LOOK_S), ending

    def _hold(self, budget: Budget, standing: Standing) -> None:
        """What waits in the queue starts no sooner than what StartSession would let in."""
        if standing in REFUSING:
            self._means.spent.add(budget.work_group)
        else:
            self._means.spent.discard(budget.work_group)

    def _say(self, budget: Budget, standing: Standing, used: timedelta, now: datetime) -> None:
        since, _ = budget.period.bounds(now)
        which = (budget.work_group, standing)
        if standing is Standing.OK or self._said.get(which) == since:
            return
        self._said[which] = since
        extra = {"work_group": budget.work_group, "standing": standing, "used": budget.spent(used)}
        log.warning("budget of a workgroup has come to a mark", extra=extra)


def _used(budget: Budget, now: datetime, tx: Connection) -> timedelta:
    since, _ = budget.period.bounds(now)
    return usage.used(tx, budget.work_group, since, now)


def _end_all(budget: Budget, now: datetime, reason: str, tx: Connection) -> list[SessionId]:
    """Ask every session of the workgroup that still runs to end."""
    running = [
        session
        for session in sessions.list_live(tx, budget.work_group)
        if session.state in domain.ACTIVE
    ]
    for session in running:
        sessions.replace(tx, session, domain.Event.TERMINATE_ASKED, at=now, reason=reason)
    return [session.id for session in running]

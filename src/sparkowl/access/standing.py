"""Whether somebody who was let in once may stay.

A browser's visit to a notebook shows no key. It was let in on the word of a principal, and stays
only as long as that principal has a key that works and may still ask for such a visit. A session
that made the link has one until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sparkowl.access.session_keys import SessionKeys
from sparkowl.clock import Clock
from sparkowl.domain.conditions import BadPolicy
from sparkowl.domain.policy import ROOT, Principal, parse
from sparkowl.store import Store, principals

#: How long a change of a principal may go unnoticed.
MAX_AGE: Final = timedelta(seconds=3)
_REMEMBERED: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal | None
    looked_at: datetime


class Standing:
    """Looks principals up by name. With ``first_only`` there is nobody but the first key's, and
    that one's sessions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        sessions: SessionKeys | None = None,
        first_only: bool = False,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._first_only = first_only
        self._known: dict[str, _Known] = {}

    async def of(self, name: str) -> Principal | None:
        """The principal as it is now; None for one without a key that works."""
        if name == ROOT.name:
            return ROOT
        if self._sessions is not None and (session := await self._sessions.named(name)):
            return session
        if self._first_only:
            return None
        now = self._clock.now()
        known = self._known.get(name)
        if known is None or not timedelta(0) <= now - known.looked_at < MAX_AGE:
            known = _Known(await self._look(name, now), now)
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[name] = known
        return known.principal

    async def _look(self, name: str, now: datetime) -> Principal | None:
        keys, policy = await self._store.read(
            lambda tx: (principals.keys_of(tx, name), principals.find_policy(tx, name))
        )
        if policy is None or not any(key.usable(now) for key in keys):
            return None
        try:
            return Principal(name, parse(policy))
        except BadPolicy:
            return None

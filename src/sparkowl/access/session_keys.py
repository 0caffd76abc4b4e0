"""Who is behind the key of a session: the session itself, as long as it lives.

The key of a session is that of :mod:`sparkowl.domain.session_key`. Its row is looked at again once
what is known of it is older than a second: a session that has ended, whichever server ended it,
opens nothing after that.

These keys work also where nobody but the holder of the first key is let in. That rule keeps others'
code away from the server's files where nothing isolates drivers; but a session is the code of
whoever started it, who is the holder of the first key then, and it could read the first key itself.
So nothing is gained by refusing it what is less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sparkowl.clock import Clock
from sparkowl.domain import session_key
from sparkowl.domain.arns import Account
from sparkowl.domain.policy import Principal
from sparkowl.domain.role import Roles
from sparkowl.domain.session import Session
from sparkowl.store import Store, sessions

#: How long the end of a session may go unnoticed.
MAX_AGE: Final = timedelta(seconds=1)
_REMEMBERED: Final = 1_000


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """A session's key that works, and the session as a principal."""

    principal: Principal
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Known:
    caller: SessionCaller | None
    looked_at: datetime


class SessionKeys:
    """Finds sessions by the ids of their keys, and as principals by their names."""

    def __init__(
        self, store: Store, clock: Clock, key: bytes, account: Account, roles: Roles
    ) -> None:
        """``key`` is the servers', for :data:`sparkowl.domain.session_key.PURPOSE`."""
        self._store = store
        self._clock = clock
        self._key = key
        self._account = account
        self._roles = roles
        #: By session id; the oldest go first, as strangers may ask for any.
        self._known: dict[str, _Known] = {}

    async def find(self, access_key_id: str) -> SessionCaller | None:
        """The session that has this key; None for one that has ended, or that there never was."""
        session_id = session_key.session_of(access_key_id)
        return None if session_id is None else await self._look(session_id)

    async def named(self, principal: str) -> Principal | None:
        """The session that is a principal of this name, while its key works."""
        session_id = session_key.named(principal)
        found = None if session_id is None else await self._look(session_id)
        return None if found is None else found.principal

    async def _look(self, session_id: str) -> SessionCaller | None:
        now = self._clock.now()
        known = self._known.get(session_id)
        if known is None or not timedelta(0) <= now - known.looked_at < MAX_AGE:
            session = await self._store.read(lambda tx: sessions.find(tx, session_id))
            known = _Known(self._caller(session), now)
            self._known.pop(session_id, None)
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[session_id] = known
        return known.caller

    def _caller(self, session: Session | None) -> SessionCaller | None:
        if session is None or not session_key.works(session):
            return None
        role = self._roles.mapped(session)
        return SessionCaller(
            session_key.principal_of(session, role, self._account),
            session_key.secret(self._key, session.id),
        )

"""Who is behind an access key id.

Keys change in another process: ``sparkowl keys`` writes rows and ``credentials.json`` itself. So
what is known of a key is looked up again once it is older than a second, and a key that was
disabled opens no door after that. In between, a look costs nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from sparkowl import credentials
from sparkowl.access import sealing
from sparkowl.access.session_keys import SessionKeys
from sparkowl.clock import Clock
from sparkowl.credentials import BadCredentials, Credentials
from sparkowl.domain.conditions import BadPolicy
from sparkowl.domain.policy import ROOT, Policy, Principal, parse
from sparkowl.store import Store, principals
from sparkowl.store.principals import Holder

log = logging.getLogger(__name__)

#: How long a change of a key may go unnoticed.
MAX_AGE: Final = timedelta(seconds=1)
#: What can be the id of a key. Nothing else is looked for in the database.
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_]{4,128}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A key that works, and whose it is."""

    access_key_id: str
    principal: Principal
    secret: str = field(repr=False)


def secret_of(caller: Caller | None) -> Callable[[str], str | None]:
    """The form in which a signature's check asks: the secret of that key, or None."""

    def find(access_key_id: str) -> str | None:
        if caller is None or caller.access_key_id != access_key_id:
            return None
        return caller.secret

    return find


@dataclass(frozen=True, slots=True)
class _Known:
    holder: Holder
    caller: Caller
    looked_at: datetime


class Keyring:
    """The keys of a server: the first one from its file, sessions' own, the others from the store.

    With ``first_only``, nobody but the holder of the first key gets in, and that one's sessions.
    """

    def __init__(  # noqa: PLR0913  where each kind of key is found, and who is let in
        self,
        store: Store,
        data_dir: Path,
        first: Credentials,
        clock: Clock,
        *,
        sessions: SessionKeys | None = None,
        first_only: bool = False,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._first = _FirstKey(data_dir, first, clock.now())
        self._key = first.key_for(sealing.PURPOSE)
        self._first_only = first_only
        #: By key id. Only keys that exist are kept, so strangers cannot make it grow.
        self._known: dict[str, _Known] = {}

    async def find(self, access_key_id: str | None) -> Caller | None:
        """Who holds the key; None for one that is unknown, disabled, or over."""
        now = self._clock.now()
        first = self._first.caller(now)
        if access_key_id == first.access_key_id:
            return first
        if access_key_id is None or not _KEY_ID.fullmatch(access_key_id):
            return None
        if self._sessions is not None and (own := await self._sessions.find(access_key_id)):
            return Caller(access_key_id, own.principal, own.secret)
        known = self._known.get(access_key_id)
        if known is None or not timedelta(0) <= now - known.looked_at < MAX_AGE:
            known = await self._look(access_key_id, known, now)
        if known is None or not known.holder.key.usable(now):
            return None
        if self._first_only and known.caller.principal is not ROOT:
            return None
        return known.caller

    async def _look(self, key_id: str, known: _Known | None, now: datetime) -> _Known | None:
        holder = await self._store.read(lambda tx: principals.find_holder(tx, key_id))
        if holder is None:
            self._known.pop(key_id, None)
            return None
        caller = known.caller if known is not None and known.holder == holder else None
        caller = caller or self._opened(holder)
        if caller is None:
            return None
        self._known[key_id] = _Known(holder, caller, now)
        return self._known[key_id]

    def _opened(self, holder: Holder) -> Caller | None:
        key = holder.key
        try:
            secret = sealing.unseal(self._key, key.id, holder.sealed)
        except sealing.CannotOpen as error:
            log.error("a key cannot be used", extra={"key": key.id, "why": str(error)})  # noqa: TRY400
            return None
        if key.principal == ROOT.name:
            return Caller(key.id, ROOT, secret)
        return Caller(key.id, Principal(key.principal, _policy(holder.policy)), secret)


@lru_cache(maxsize=256)  # a principal's keys share one, and a lookup each second finds it again
def _policy(text: str) -> Policy:
    """One that cannot be read allows nothing; it was checked when it was stored."""
    try:
        return parse(text)
    except BadPolicy as error:
        log.error("a stored policy cannot be read", extra={"why": str(error)})  # noqa: TRY400
        return Policy()


class _FirstKey:
    """The key pair of ``credentials.json``, read again when the file was replaced."""

    def __init__(self, data_dir: Path, first: Credentials, now: datetime) -> None:
        self._data_dir = data_dir
        self._caller = _root(first)
        self._looked_at = now
        self._stamp = credentials.stamp(data_dir)

    def caller(self, now: datetime) -> Caller:
        if not timedelta(0) <= now - self._looked_at < MAX_AGE:
            self._looked_at = now
            self._look()
        return self._caller

    def _look(self) -> None:
        stamp = credentials.stamp(self._data_dir)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = credentials.load(self._data_dir)
        except BadCredentials as error:
            log.error("the first key stays as it was", extra={"why": str(error)})  # noqa: TRY400
            return
        if found is None:
            log.error("credentials.json is gone; the first key stays as it was")
            return
        self._caller = _root(found)


def _root(first: Credentials) -> Caller:
    return Caller(first.access_key_id, ROOT, first.secret_access_key)

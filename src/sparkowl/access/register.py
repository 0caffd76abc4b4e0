"""The operator's side of keys: make, disable, enable, replace; and whose policy says what.

Works on the store whether a server runs on it or not; one that runs notices within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from sparkowl import credentials
from sparkowl.access import sealing
from sparkowl.clock import Clock
from sparkowl.domain import access_key
from sparkowl.domain.access_key import AccessKey, Event, KeyRefusal
from sparkowl.domain.policy import ROOT, check_name, compact, document, parse
from sparkowl.store import Store, principals

#: What the row of the first key's principal holds. It is never read: ``root`` needs no policy.
_ROOT_POLICY = '{"Version":"2012-10-17","Statement":[]}'


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. Its secret is nowhere else to be seen."""

    id: str
    principal: str
    secret: str = field(repr=False)


class Register:
    """All keys of one data directory."""

    def __init__(self, store: Store, data_dir: Path, clock: Clock) -> None:
        self._store = store
        self._data_dir = data_dir
        self._clock = clock

    async def create(self, name: str, policy: str | None) -> NewKey:
        """A key for a principal, who is made if there is none of that name.

        :class:`KeyRefusal` or :class:`~sparkowl.domain.policy.BadPolicy` says what is wrong; then
        nothing was written.
        """
        check_name(name)
        kept = None if policy is None else _checked(policy)

        def write(tx: Connection) -> NewKey:
            there = principals.find_policy(tx, name)
            if there is None and kept is None:
                raise KeyRefusal(f"There is no principal {name} yet: say what it may do.")
            if there is not None and kept is not None and there != kept:
                raise KeyRefusal(
                    f"The principal {name} has a policy. Leave it out to give it one more key, or "
                    "replace it with: sparkowl keys policy"
                )
            if there is None and kept is not None:
                principals.insert_principal(tx, name, kept, self._clock.now())
            return self._insert(tx, name)

        return await self._store.write(write)

    async def list(self) -> Sequence[AccessKey]:
        """The first key, then all others by principal and age."""
        others = await self._store.read(principals.list_keys)
        first = credentials.load_or_create(self._data_dir)
        made_at = credentials.made_at(self._data_dir)
        return [access_key.created(first.access_key_id, ROOT.name, made_at), *others]

    async def change(self, key_id: str, event: Event) -> AccessKey:
        """Disable or enable a key."""
        self._refuse_first(key_id)

        def write(tx: Connection) -> AccessKey:
            key = access_key.apply(_get(tx, key_id).key, event, self._clock.now())
            principals.update_key(tx, key)
            return key

        return await self._store.write(write)

    async def rotate(self, key_id: str, keep: timedelta = timedelta(0)) -> NewKey:
        """A new key for the same principal; the old one works on for ``keep``, and never again."""
        if key_id == credentials.load_or_create(self._data_dir).access_key_id:
            return await self._rotate_first(keep)

        def write(tx: Connection) -> NewKey:
            was = _get(tx, key_id).key
            principals.update_key(tx, access_key.replaced(was, self._clock.now(), keep))
            return self._insert(tx, was.principal)

        return await self._store.write(write)

    async def _rotate_first(self, keep: timedelta) -> NewKey:
        """The old pair, if it is kept, becomes a row like any other; then the file is replaced."""
        old = credentials.load_or_create(self._data_dir)
        now = self._clock.now()
        was = access_key.created(old.access_key_id, ROOT.name, credentials.made_at(self._data_dir))
        was = access_key.replaced(was, now, keep)

        def write(tx: Connection) -> None:
            if principals.find_policy(tx, ROOT.name) is None:
                principals.insert_principal(tx, ROOT.name, _ROOT_POLICY, now)
            if principals.find_holder(tx, was.id) is None:
                principals.insert_key(tx, was, self._seal(was.id, old.secret_access_key))
            else:  # a rotation that was cut off before the file was replaced
                principals.update_key(tx, was)

        if keep:
            await self._store.write(write)
        key_id, secret = credentials.new_pair()
        new = replace(old, access_key_id=key_id, secret_access_key=secret)
        credentials.replace_file(self._data_dir, new)
        return NewKey(key_id, ROOT.name, secret)

    async def policy(self, name: str) -> str:
        """The policy of a principal, as JSON."""
        found = await self._store.read(lambda tx: principals.find_policy(tx, name))
        if found is None or name == ROOT.name:
            raise _no_principal(name)
        return found

    async def set_policy(self, name: str, policy: str) -> None:
        """Replace it; all keys of the principal follow within a second."""
        kept = _checked(policy)

        def write(tx: Connection) -> None:
            if name == ROOT.name or principals.find_policy(tx, name) is None:
                raise _no_principal(name)
            principals.set_policy(tx, name, kept)

        await self._store.write(write)

    def _insert(self, tx: Connection, name: str) -> NewKey:
        key_id, secret = credentials.new_pair()
        key = access_key.created(key_id, name, self._clock.now())
        principals.insert_key(tx, key, self._seal(key_id, secret))
        return NewKey(key_id, name, secret)

    def _seal(self, key_id: str, secret: str) -> str:
        first = credentials.load_or_create(self._data_dir)
        return sealing.seal(first.key_for(sealing.PURPOSE), key_id, secret)

    def _refuse_first(self, key_id: str) -> None:
        if key_id == credentials.load_or_create(self._data_dir).access_key_id:
            raise KeyRefusal(
                f"{key_id} is the first key, without which nobody could do everything. "
                f"Replace it with: sparkowl keys rotate {key_id}"
            )


def _checked(policy: str) -> str:
    """The policy as it is kept, once all of it is understood."""
    parse(policy)
    return compact(document(policy))


def _get(tx: Connection, key_id: str) -> principals.Holder:
    holder = principals.find_holder(tx, key_id)
    if holder is None:
        raise KeyRefusal(f"There is no key {key_id[:128]}. See: sparkowl keys list")
    return holder


def _no_principal(name: str) -> KeyRefusal:
    if name == ROOT.name:
        return KeyRefusal("root is the principal of the first key, and may do everything.")
    return KeyRefusal(f"There is no principal {name[:128]}. See: sparkowl keys list")

"""Principals and their access keys in the store. Secrets are sealed before they come here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from sparkowl.domain.access_key import AccessKey, State
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment, optional_micros, optional_moment

_k: Final = tables.access_keys.c
_p: Final = tables.principals.c
_HOLDER: Final = (
    select(tables.access_keys, _p.policy)
    .join(tables.principals, _p.name == _k.principal)
    .where(_k.id == bindparam("id"))
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A key with all that a door needs of it."""

    key: AccessKey
    sealed: str
    #: The JSON of the principal's policy.
    policy: str


def find_holder(connection: Connection, key_id: str) -> Holder | None:
    row = connection.execute(_HOLDER, {"id": key_id}).one_or_none()
    return None if row is None else Holder(_key(row), row.secret, row.policy)


def list_keys(connection: Connection) -> Sequence[AccessKey]:
    """By principal, then by age."""
    query = select(tables.access_keys).order_by(_k.principal, _k.created_at, _k.id)
    return [_key(row) for row in connection.execute(query)]


def keys_of(connection: Connection, principal: str) -> Sequence[AccessKey]:
    query = select(tables.access_keys).where(_k.principal == principal)
    return [_key(row) for row in connection.execute(query)]


def find_policy(connection: Connection, name: str) -> str | None:
    """The policy of a principal; None when there is no such principal."""
    query = select(_p.policy).where(_p.name == name)
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else str(found)


def insert_principal(connection: Connection, name: str, policy: str, at: datetime) -> None:
    connection.execute(
        insert(tables.principals).values(name=name, policy=policy, created_at=micros(at))
    )


def set_policy(connection: Connection, name: str, policy: str) -> None:
    connection.execute(update(tables.principals).where(_p.name == name).values(policy=policy))


def insert_key(connection: Connection, key: AccessKey, sealed: str) -> None:
    connection.execute(
        insert(tables.access_keys).values(
            id=key.id,
            principal=key.principal,
            secret=sealed,
            state=str(key.state),
            created_at=micros(key.created_at),
            expires_at=optional_micros(key.expires_at),
        )
    )


def update_key(connection: Connection, key: AccessKey) -> None:
    """Write what an event changed."""
    changed = {"state": str(key.state), "expires_at": optional_micros(key.expires_at)}
    connection.execute(update(tables.access_keys).where(_k.id == key.id).values(changed))


def _key(row: Row[Any]) -> AccessKey:
    return AccessKey(
        id=row.id,
        principal=row.principal,
        state=State(row.state),
        created_at=moment(row.created_at),
        expires_at=optional_moment(row.expires_at),
    )

"""Tags in the store, by the resource that has them (:attr:`sparkowl.domain.arns.Resource.key`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from sparkowl.store import tables

_t: Final = tables.tags.c
_OF: Final = select(_t.key, _t.value).where(_t.resource == bindparam("resource")).order_by(_t.key)


def of(connection: Connection, resource: str) -> dict[str, str]:
    """All tags of a resource; it has at most 50."""
    return {row.key: row.value for row in connection.execute(_OF, {"resource": resource})}


def page(
    connection: Connection, resource: str, *, after: str | None, limit: int
) -> Sequence[tuple[str, str]]:
    """In the order of keys, from behind ``after``."""
    query = _OF.limit(limit)
    if after is not None:
        query = query.where(_t.key > after)
    return [(row.key, row.value) for row in connection.execute(query, {"resource": resource})]


def put(connection: Connection, resource: str, tags: Mapping[str, str]) -> None:
    """Add the tags; those with the same keys are replaced."""
    if tags:
        remove(connection, resource, tags)
        rows = [{"resource": resource, "key": k, "value": v} for k, v in tags.items()]
        connection.execute(insert(tables.tags), rows)


def remove(connection: Connection, resource: str, keys: Collection[str]) -> None:
    """Take tags away; one that is not there is no error."""
    connection.execute(delete(tables.tags).where(_t.resource == resource, _t.key.in_(list(keys))))


def clear(connection: Connection, resource: str) -> None:
    connection.execute(delete(tables.tags).where(_t.resource == resource))

"""Workgroups in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.workgroup import State, WorkGroup
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment

_t: Final = tables.workgroups.c


def find(connection: Connection, name: str) -> WorkGroup | None:
    query = select(tables.workgroups).where(_t.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _work_group(row)


def get(connection: Connection, name: str) -> WorkGroup:
    """The workgroup. The text of the error is one that Terraform looks for."""
    work_group = find(connection, name)
    if work_group is None:
        raise InvalidRequest(f"WorkGroup {name} is not found.")
    return work_group


def insert_work_group(connection: Connection, work_group: WorkGroup) -> None:
    connection.execute(
        insert(tables.workgroups).values(
            name=work_group.name,
            created_at=micros(work_group.created_at),
            **_changing(work_group),
        )
    )


def replace(connection: Connection, work_group: WorkGroup) -> None:
    """Write what UpdateWorkGroup changed, in the transaction that read it."""
    connection.execute(
        update(tables.workgroups).where(_t.name == work_group.name).values(**_changing(work_group))
    )


def delete_work_group(connection: Connection, name: str) -> None:
    connection.execute(delete(tables.workgroups).where(_t.name == name))


def count(connection: Connection) -> int:
    query = select(func.count()).select_from(tables.workgroups)
    return int(connection.execute(query).scalar_one())


def list_page(connection: Connection, *, after: str | None, limit: int) -> Sequence[WorkGroup]:
    """In the order of names, from behind ``after``."""
    query = select(tables.workgroups).order_by(_t.name).limit(limit)
    if after is not None:
        query = query.where(_t.name > after)
    return [_work_group(row) for row in connection.execute(query)]


def _changing(work_group: WorkGroup) -> dict[str, Any]:
    return {
        "state": str(work_group.state),
        "description": work_group.description,
        "configuration": json.dumps(dict(work_group.configuration)),
    }


def _work_group(row: Row[Any]) -> WorkGroup:
    return WorkGroup(
        name=row.name,
        state=State(row.state),
        description=row.description,
        configuration=json.loads(row.configuration),
        created_at=moment(row.created_at),
    )

"""Notebooks in the store, and every version of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, SessionId
from sparkowl.domain.notebook import Notebook, Version
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment

_t: Final = tables.notebooks.c
_v: Final = tables.notebook_versions.c


def find(connection: Connection, notebook_id: str) -> Notebook | None:
    query = select(tables.notebooks).where(_t.id == notebook_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _notebook(row)


def get(connection: Connection, notebook_id: str) -> Notebook:
    notebook = find(connection, notebook_id)
    if notebook is None:
        raise InvalidRequest(f"Notebook {notebook_id} is not found.")
    return notebook


def by_name(connection: Connection, work_group: str, name: str) -> Notebook | None:
    query = select(tables.notebooks).where(_t.work_group == work_group, _t.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _notebook(row)


def names(connection: Connection, work_group: str) -> Sequence[str]:
    query = select(_t.name).where(_t.work_group == work_group)
    return list(connection.execute(query).scalars())


def insert_notebook(connection: Connection, notebook: Notebook, first: Version) -> None:
    connection.execute(
        insert(tables.notebooks).values(
            id=notebook.id,
            work_group=notebook.work_group,
            name=notebook.name,
            version=notebook.version,
            created_at=micros(notebook.created_at),
            modified_at=micros(notebook.modified_at),
        )
    )
    insert_version(connection, notebook.id, first)


def insert_version(connection: Connection, notebook_id: str, version: Version) -> None:
    connection.execute(
        insert(tables.notebook_versions).values(
            notebook_id=notebook_id,
            number=version.number,
            payload=version.payload,
            saved_at=micros(version.saved_at),
            session_id=version.session_id,
            principal=version.principal,
        )
    )


def version(connection: Connection, notebook_id: str, number: int) -> Version | None:
    query = select(tables.notebook_versions).where(
        _v.notebook_id == notebook_id, _v.number == number
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _version(row)


def _notebook(row: Row[Any]) -> Notebook:
    return Notebook(
        id=NotebookId(row.id),
        work_group=row.work_group,
        name=row.name,
        version=row.version,
        created_at=moment(row.created_at),
        modified_at=moment(row.modified_at),
    )


def _version(row: Row[Any]) -> Version:
    return Version(
        number=row.number,
        payload=row.payload,
        saved_at=moment(row.saved_at),
        session_id=None if row.session_id is None else SessionId(row.session_id),
        principal=row.principal,
    )

"""Notebooks in the store, and every version of each."""

from __future__ import annotations

import string
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, literal, select, tuple_, update

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, SessionId, new_notebook_id
from sparkowl.domain.notebook import Notebook, Version, free_name, unsaved_name
from sparkowl.domain.session import Session
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment

_t: Final = tables.notebooks.c
_v: Final = tables.notebook_versions.c
#: What ``lower`` does in both databases (PostgreSQL's under the collation C).
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def find(connection: Connection, notebook_id: str) -> Notebook | None:
    query = select(tables.notebooks).where(_t.id == notebook_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _notebook(row)


def get(connection: Connection, notebook_id: str) -> Notebook:
    notebook = find(connection, notebook_id)
    if notebook is None:
        raise unknown(notebook_id)
    return notebook


def unknown(notebook_id: str) -> InvalidRequest:
    return InvalidRequest(f"Notebook {notebook_id} is not found.")


def work_group_of(connection: Connection, notebook_id: str) -> str | None:
    """The workgroup that a notebook is in, now and always; None for an unknown notebook."""
    query = select(_t.work_group).where(_t.id == notebook_id)
    return connection.execute(query).scalar_one_or_none()


def name_of(connection: Connection, session: Session) -> str:
    """What the notebook of a session is called, saved or not."""
    found = None if session.notebook_id is None else find(connection, session.notebook_id)
    return unsaved_name(session.id) if found is None else found.name


def by_name(connection: Connection, work_group: str, name: str) -> Notebook | None:
    query = select(tables.notebooks).where(_t.work_group == work_group, _t.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _notebook(row)


def names(connection: Connection, work_group: str) -> Sequence[str]:
    query = select(_t.name).where(_t.work_group == work_group)
    return list(connection.execute(query).scalars())


def list_page(
    connection: Connection,
    work_group: str,
    *,
    part: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Notebook]:
    """Newest first, from behind ``after`` (creation time in microseconds, id).

    ``part``: only those whose name contains it; an ASCII letter and its capital are the same.
    """
    query = (
        select(tables.notebooks)
        .where(_t.work_group == work_group)
        .order_by(_t.created_at.desc(), _t.id.desc())
        .limit(limit)
    )
    if part is not None:
        query = query.where(func.lower(_t.name).contains(part.translate(_LOWER), autoescape=True))
    if after is not None:
        query = query.where(tuple_(_t.created_at, _t.id) < after)
    return [_notebook(row) for row in connection.execute(query)]


def count(connection: Connection, work_group: str) -> int:
    query = select(func.count()).select_from(tables.notebooks).where(_t.work_group == work_group)
    return int(connection.execute(query).scalar_one())


def replace(connection: Connection, notebook: Notebook) -> None:
    """Write what a save or a new name changed, in the transaction that read it."""
    connection.execute(
        update(tables.notebooks)
        .where(_t.id == notebook.id)
        .values(
            name=notebook.name,
            version=notebook.version,
            modified_at=micros(notebook.modified_at),
        )
    )


def delete_notebook(connection: Connection, notebook_id: str) -> None:
    """With all its versions."""
    connection.execute(delete(tables.notebook_versions).where(_v.notebook_id == notebook_id))
    connection.execute(delete(tables.notebooks).where(_t.id == notebook_id))


def delete_all(connection: Connection, work_group: str) -> None:
    """Every notebook of a workgroup, with all versions."""
    ids = select(_t.id).where(_t.work_group == work_group)
    connection.execute(delete(tables.notebook_versions).where(_v.notebook_id.in_(ids)))
    connection.execute(delete(tables.notebooks).where(_t.work_group == work_group))


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


def insert_file(  # noqa: PLR0913  a notebook's columns
    connection: Connection,
    work_group: str,
    wanted_name: str,
    payload: str,
    at: datetime,
    principal: str | None,
) -> NotebookId:
    """A new notebook from a file, under the file's name or the next one that is free."""
    name = free_name(wanted_name, names(connection, work_group))
    notebook = Notebook(
        id=new_notebook_id(), work_group=work_group, name=name, created_at=at, modified_at=at
    )
    first = Version(number=1, payload=payload, saved_at=at, principal=principal)
    insert_notebook(connection, notebook, first)
    return notebook.id


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


def with_payload(connection: Connection, notebook_id: str) -> tuple[Notebook, str]:
    """A notebook and its content, read at one moment: of two reads, a save may come between."""
    query = (
        select(tables.notebooks, _v.payload)
        .join(tables.notebook_versions, (_v.notebook_id == _t.id) & (_v.number == _t.version))
        .where(_t.id == notebook_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise unknown(notebook_id)
    return _notebook(row), row.payload


def history(connection: Connection, notebook_id: str) -> Sequence[Version]:
    """The versions that are kept, oldest first, without their content, which may be long."""
    query = (
        select(_v.number, _v.saved_at, _v.session_id, _v.principal, literal("").label("payload"))
        .where(_v.notebook_id == notebook_id)
        .order_by(_v.number)
    )
    return [_version(row) for row in connection.execute(query)]


def drop_versions(connection: Connection, notebook_id: str, up_to: int) -> None:
    """Forget the oldest, up to this number."""
    which = (_v.notebook_id == notebook_id, _v.number <= up_to)
    connection.execute(delete(tables.notebook_versions).where(*which))


def _notebook(row: Row[*tuple[Any, ...]]) -> Notebook:
    return Notebook(
        id=NotebookId(row.id),
        work_group=row.work_group,
        name=row.name,
        version=row.version,
        created_at=moment(row.created_at),
        modified_at=moment(row.modified_at),
    )


def _version(row: Row[*tuple[Any, ...]]) -> Version:
    return Version(
        number=row.number,
        payload=row.payload,
        saved_at=moment(row.saved_at),
        session_id=None if row.session_id is None else SessionId(row.session_id),
        principal=row.principal,
    )

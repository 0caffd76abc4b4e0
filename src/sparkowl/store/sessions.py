"""Sessions in the store, and the history of their changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from sparkowl.domain.errors import Conflict, InvalidRequest
from sparkowl.domain.ids import NotebookId, ServerId, SessionId
from sparkowl.domain.session import TERMINAL, Event, Session, State, apply
from sparkowl.domain.workgroup import WorkGroup
from sparkowl.store import tables
from sparkowl.store.history import ASKED, Change, History
from sparkowl.store.tables import micros, moment, optional_micros, optional_moment

_history: Final = History("session", tables.session_events)
_t: Final = tables.sessions.c
_BY_ID: Final = select(tables.sessions).where(_t.id == bindparam("id"))
_WORK_GROUP: Final = select(_t.work_group).where(_t.id == bindparam("id"))


# Built once: SQLAlchemy takes longer to build a statement than SQLite takes to run it.
_INSERT: Final = insert(tables.sessions)
_UPDATE: Final = (
    update(tables.sessions)
    .where(_t.id == bindparam("was_id"), _t.version == bindparam("was_version"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "modified_at",
                "active_at",
                "idle_since",
                "ended_at",
                "reason",
                "version",
            )
        }
    )
)


def find(connection: Connection, session_id: str) -> Session | None:
    row = connection.execute(_BY_ID, {"id": session_id}).one_or_none()
    return None if row is None else _session(row)


def get(connection: Connection, session_id: str) -> Session:
    """The session. Athena calls an unknown one an invalid request, and clients rely on it."""
    session = find(connection, session_id)
    if session is None:
        raise InvalidRequest(f"Session {session_id} is not found.")
    return session


def work_group_of(connection: Connection, session_id: str) -> str | None:
    """The workgroup that a session is in, now and always; None for an unknown session."""
    return connection.execute(_WORK_GROUP, {"id": session_id}).scalar_one_or_none()


def insert_session(connection: Connection, session: Session) -> None:
    connection.execute(_INSERT, _fixed(session) | _changing(session))
    _history.record(
        connection,
        session.id,
        ASKED,
        was=None,
        to=session.state,
        reason=None,
        at=session.created_at,
    )


def change(
    connection: Connection,
    session_id: str,
    event: Event,
    *,
    at: datetime,
    reason: str | None = None,
) -> Session:
    """Write what an event changes, whatever the state is by now: for facts and for requests."""
    return replace(connection, get(connection, session_id), event, at=at, reason=reason)


def replace(
    connection: Connection,
    was: Session,
    event: Event,
    *,
    at: datetime,
    reason: str | None = None,
) -> Session:
    """Write what an event changes that was decided on ``was``, in one compare-and-set.

    :class:`Conflict` when the row moved since it was read: decide again.
    """
    changed = apply(was, event, at=at, reason=reason)
    if changed is was:
        return was
    which = {"was_id": was.id, "was_version": was.version}
    result = connection.execute(_UPDATE, which | _changing(changed))
    if result.rowcount != 1:
        raise Conflict(f"session {was.id} changed since it was read")
    if changed.state is was.state:
        # History is of states: an open page may extend its session each minute.
        return changed
    _history.record(
        connection,
        was.id,
        event,
        was=was.state,
        to=changed.state,
        reason=changed.reason,
        at=at,
    )
    return changed


def set_timeline(connection: Connection, session: Session) -> None:
    """Write the start timeline: a fact, true whatever the state is by now."""
    connection.execute(
        update(tables.sessions)
        .where(_t.id == session.id)
        .values(timeline=json.dumps(dict(session.timeline)))
    )


def set_notebook(connection: Connection, session_id: str, notebook_id: NotebookId) -> None:
    """The session is for this notebook from now on."""
    connection.execute(
        update(tables.sessions).where(_t.id == session_id).values(notebook_id=notebook_id)
    )


def live_of_notebook(connection: Connection, notebook_id: str) -> Session | None:
    """The session that a notebook has and that has not ended; there is at most one."""
    query = select(tables.sessions).where(_t.notebook_id == notebook_id, _t.ended_at.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else _session(row)


def list_page(
    connection: Connection,
    work_group: WorkGroup,
    states: Collection[State],
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Session]:
    """Newest first, from behind ``after`` (creation time in microseconds, id).

    A workgroup that was deleted and made again does not show its namesake's sessions.
    """
    query = (
        select(tables.sessions)
        .where(_t.work_group == work_group.name, _t.created_at >= micros(work_group.created_at))
        .where(_t.state.in_([str(state) for state in states]))
        .order_by(_t.created_at.desc(), _t.id.desc())
        .limit(limit)
    )
    if not TERMINAL.intersection(states):
        # The few that live, found without a look at the many that ended.
        query = query.where(_t.ended_at.is_(None))
    if after is not None:
        query = query.where(_older(after))
    return [_session(row) for row in connection.execute(query)]


def list_of_notebook(
    connection: Connection,
    notebook_id: str,
    states: Collection[State],
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Session]:
    """The sessions of a notebook that have not ended, in these states; otherwise as a page of
    :func:`list_page`."""
    query = (
        select(tables.sessions)
        .where(_t.notebook_id == notebook_id, _t.ended_at.is_(None))
        .where(_t.state.in_([str(state) for state in states]))
        .order_by(_t.created_at.desc(), _t.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(_older(after))
    return [_session(row) for row in connection.execute(query)]


def _older(after: tuple[int, str]) -> ColumnElement[bool]:
    return tuple_(_t.created_at, _t.id) < after


def list_live(connection: Connection, work_group: str | None = None) -> Sequence[Session]:
    """Sessions that have not ended, of one workgroup or of all."""
    query = select(tables.sessions).where(_t.ended_at.is_(None))
    if work_group is not None:
        query = query.where(_t.work_group == work_group)
    return [_session(row) for row in connection.execute(query)]


def history(connection: Connection, session_id: str) -> Sequence[Change]:
    """The changes of a session, oldest first."""
    return _history.of(connection, session_id)


def _fixed(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "work_group": session.work_group,
        "engine_version": session.engine_version,
        "description": session.description,
        "request": json.dumps(dict(session.request)),
        "idle_timeout": session.idle_timeout // timedelta(microseconds=1),
        "output_location": session.output_location,
        "created_at": micros(session.created_at),
        "timeline": json.dumps(dict(session.timeline)),
        "principal": session.principal,
        "server": session.server,
        "notebook_id": session.notebook_id,
    }


def _changing(session: Session) -> dict[str, Any]:
    return {
        "state": str(session.state),
        "modified_at": micros(session.modified_at),
        "active_at": optional_micros(session.active_at),
        "idle_since": optional_micros(session.idle_since),
        "ended_at": optional_micros(session.ended_at),
        "reason": session.reason,
        "version": session.version,
    }


def _session(row: Row[Any]) -> Session:
    return Session(
        id=SessionId(row.id),
        work_group=row.work_group,
        state=State(row.state),
        engine_version=row.engine_version,
        description=row.description,
        request=json.loads(row.request),
        idle_timeout=timedelta(microseconds=row.idle_timeout),
        output_location=row.output_location,
        created_at=moment(row.created_at),
        modified_at=moment(row.modified_at),
        active_at=optional_moment(row.active_at),
        idle_since=optional_moment(row.idle_since),
        ended_at=optional_moment(row.ended_at),
        reason=row.reason,
        timeline=json.loads(row.timeline),
        version=row.version,
        principal=row.principal,
        server=None if row.server is None else ServerId(row.server),
        notebook_id=None if row.notebook_id is None else NotebookId(row.notebook_id),
    )

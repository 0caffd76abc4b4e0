"""Calculations in the store, and the history of their changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update

from sparkowl.domain.calculation import TERMINAL, Calculation, Event, State, apply
from sparkowl.domain.errors import Conflict, InvalidRequest
from sparkowl.domain.ids import CalculationId, SessionId
from sparkowl.store import tables
from sparkowl.store.history import ASKED, Change, History
from sparkowl.store.tables import micros, moment, optional_micros, optional_moment

_ASKED: Final = str(Event.CANCEL_ASKED)
_history: Final = History("calculation", tables.calculation_events)
_t: Final = tables.calculations.c
_BY_ID: Final = select(tables.calculations).where(_t.id == bindparam("id"))
_WORK_GROUP: Final = (
    select(tables.sessions.c.work_group)
    .join(tables.calculations, _t.session_id == tables.sessions.c.id)
    .where(_t.id == bindparam("id"))
)
# Oldest first. Not by the column itself: SQLite would take the index that is in its order, and go
# through all that ended.
_UNFINISHED: Final = (
    select(tables.calculations)
    .where(
        _t.session_id == bindparam("session_id"),
        _t.state.in_([str(state) for state in State if state not in TERMINAL]),
    )
    .order_by(_t.submitted_at + 0, _t.id)
)
_ACTIVE: Final = _UNFINISHED.limit(1)
_CANCELING: Final = (
    select(tables.calculations)
    .where(_t.session_id == bindparam("session_id"), _t.state == str(State.CANCELING))
    .order_by(_t.submitted_at, _t.id)
)
_LATEST: Final = (
    select(_t.submitted_at)
    .where(_t.session_id == bindparam("session_id"))
    .order_by(_t.submitted_at.desc(), _t.id.desc())
    .limit(1)
)


# Built once: SQLAlchemy takes longer to build a statement than SQLite takes to run it.
_INSERT: Final = insert(tables.calculations)
_UPDATE: Final = (
    update(tables.calculations)
    .where(_t.id == bindparam("was_id"), _t.version == bindparam("was_version"))
    .values(
        {
            name: bindparam(name)
            for name in ("state", "started_at", "completed_at", "reason", "progress", "version")
        }
    )
)


def find(connection: Connection, calculation_id: str) -> Calculation | None:
    row = connection.execute(_BY_ID, {"id": calculation_id}).one_or_none()
    return None if row is None else _calculation(row)


def get(connection: Connection, calculation_id: str) -> Calculation:
    calculation = find(connection, calculation_id)
    if calculation is None:
        raise InvalidRequest(f"Calculation execution {calculation_id} is not found.")
    return calculation


def work_group_of(connection: Connection, calculation_id: str) -> str | None:
    """The workgroup of a calculation's session; None for an unknown calculation."""
    return connection.execute(_WORK_GROUP, {"id": calculation_id}).scalar_one_or_none()


def active(connection: Connection, session_id: str) -> Calculation | None:
    """The session's oldest calculation that has not ended: it runs, or it is its turn."""
    row = connection.execute(_ACTIVE, {"session_id": session_id}).one_or_none()
    return None if row is None else _calculation(row)


def unfinished(connection: Connection, session_id: str) -> Sequence[Calculation]:
    """All of the session's calculations that have not ended, oldest first."""
    return [
        _calculation(row) for row in connection.execute(_UNFINISHED, {"session_id": session_id})
    ]


def canceling(connection: Connection, session_id: str) -> Sequence[Calculation]:
    """Those of the session that shall stop, oldest first."""
    return [_calculation(row) for row in connection.execute(_CANCELING, {"session_id": session_id})]


def latest_submission(connection: Connection, session_id: str) -> datetime | None:
    """When the session's youngest calculation was submitted; None: it has none."""
    at = connection.execute(_LATEST, {"session_id": session_id}).scalar_one_or_none()
    return optional_moment(at)


def insert_calculation(connection: Connection, calculation: Calculation) -> None:
    fixed = {
        "id": calculation.id,
        "session_id": calculation.session_id,
        "description": calculation.description,
        "code": calculation.code,
        "output_location": calculation.output_location,
        "submitted_at": micros(calculation.submitted_at),
    }
    connection.execute(_INSERT, fixed | _changing(calculation))
    _history.record(
        connection,
        calculation.id,
        ASKED,
        was=None,
        to=calculation.state,
        reason=None,
        at=calculation.submitted_at,
    )


def change(
    connection: Connection,
    calculation_id: str,
    event: Event,
    *,
    at: datetime,
    reason: str | None = None,
) -> Calculation:
    """Write what an event changes, whatever the state is by now: for facts and for requests."""
    return replace(connection, get(connection, calculation_id), event, at=at, reason=reason)


def replace(
    connection: Connection,
    was: Calculation,
    event: Event,
    *,
    at: datetime,
    reason: str | None = None,
) -> Calculation:
    """Write what an event changes in a calculation that was just read, in one compare-and-set.

    :class:`Conflict` when the row moved since.
    """
    changed = apply(was, event, at=at, reason=reason)
    if changed is was:
        return was
    which = {"was_id": was.id, "was_version": was.version}
    result = connection.execute(_UPDATE, which | _changing(changed))
    if result.rowcount != 1:
        raise Conflict(f"calculation {was.id} changed since it was read")
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


def set_progress(connection: Connection, calculation_id: str, percent: int) -> None:
    """Write how far it is, if it is further than before and still runs."""
    connection.execute(
        update(tables.calculations)
        .where(_t.id == calculation_id, _t.progress < percent, _t.state == str(State.RUNNING))
        .values(progress=percent)
    )


def list_page(
    connection: Connection,
    session_id: str,
    states: Collection[State],
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Calculation]:
    """Newest first, from behind ``after`` (submission time in microseconds, id)."""
    query = (
        select(tables.calculations)
        .where(_t.session_id == session_id, _t.state.in_([str(state) for state in states]))
        .order_by(_t.submitted_at.desc(), _t.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(_t.submitted_at, _t.id) < after)
    return [_calculation(row) for row in connection.execute(query)]


def cancel_asked_at(connection: Connection, calculation_id: str) -> datetime | None:
    """When it was first asked to stop; None: nobody has asked."""
    asked = (change.at for change in history(connection, calculation_id) if change.event == _ASKED)
    return next(asked, None)


def history(connection: Connection, calculation_id: str) -> Sequence[Change]:
    """The changes of a calculation, oldest first."""
    return _history.of(connection, calculation_id)


def _changing(calculation: Calculation) -> dict[str, Any]:
    return {
        "state": str(calculation.state),
        "started_at": optional_micros(calculation.started_at),
        "completed_at": optional_micros(calculation.completed_at),
        "reason": calculation.reason,
        "progress": calculation.progress,
        "version": calculation.version,
    }


def _calculation(row: Row[Any]) -> Calculation:
    return Calculation(
        id=CalculationId(row.id),
        session_id=SessionId(row.session_id),
        state=State(row.state),
        description=row.description,
        code=row.code,
        output_location=row.output_location,
        submitted_at=moment(row.submitted_at),
        started_at=optional_moment(row.started_at),
        completed_at=optional_moment(row.completed_at),
        reason=row.reason,
        progress=row.progress,
        version=row.version,
    )

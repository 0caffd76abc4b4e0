"""What is in use, and who waits: the few live sessions, found over the index of those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, and_, case, exists, func, or_, select

from sparkowl.domain.ids import SessionId
from sparkowl.domain.limits import Load, Waiting
from sparkowl.domain.session import Session, State
from sparkowl.domain.workgroup import State as WorkGroupState
from sparkowl.store import executors, tables
from sparkowl.store.tables import micros

_s: Final = tables.sessions.c
_d: Final = tables.drivers.c
_e: Final = tables.executors.c
_w: Final = tables.workgroups.c

_HAS_DRIVER: Final = exists().where(_d.session_id == _s.id)
_WAITS: Final = and_(_s.ended_at.is_(None), _s.state == str(State.CREATING), ~_HAS_DRIVER)
#: Every live session, also one that still waits for its driver.
_SESSIONS: Final = (
    select(_s.work_group, func.count().label("sessions"))
    .where(_s.ended_at.is_(None))
    .group_by(_s.work_group)
)
#: Those that have a driver.
_PLACED: Final = _SESSIONS.where(~_WAITS)
#: Executors beside the coordinator.
_WORKERS: Final = (
    select(_s.work_group, func.sum(executors.DPUS).label("dpus"))
    .join_from(tables.executors, tables.drivers, _d.id == _e.driver_id)
    .join(tables.sessions, _s.id == _d.session_id)
    .where(_s.ended_at.is_(None), _e.ended_at.is_(None))
    .group_by(_s.work_group)
)
_IN_LINE: Final = (
    select(_s.id, _s.work_group, (_w.state == str(WorkGroupState.DISABLED)).label("held"))
    .outerjoin_from(tables.sessions, tables.workgroups, _w.name == _s.work_group)
    .where(_WAITS)
    .order_by(_s.created_at, _s.id)
)
_LENGTH: Final = select(func.count()).select_from(tables.sessions).where(_WAITS)


def in_use(connection: Connection, *, placed_only: bool) -> Mapping[str, Load]:
    """By workgroup. ``placed_only``: without the sessions that wait for a driver."""
    sessions = connection.execute(_PLACED if placed_only else _SESSIONS).all()
    workers = {row.work_group: int(row.dpus) for row in connection.execute(_WORKERS)}
    return {
        row.work_group: Load(
            sessions=row.sessions, dpus=row.sessions + workers.get(row.work_group, 0)
        )
        for row in sessions
    }


def waiting(connection: Connection) -> Sequence[Waiting]:
    """Sessions without a driver, the longest-waiting first."""
    return [
        Waiting(SessionId(row.id), row.work_group, bool(row.held))
        for row in connection.execute(_IN_LINE)
    ]


def waiting_count(connection: Connection) -> int:
    """How many sessions are without a driver."""
    return int(connection.execute(_LENGTH).scalar_one())


def place(connection: Connection, session: Session) -> tuple[int, int] | None:
    """The session's place among :func:`waiting`, from 1, and how many wait; None: it does not.

    Counted in the database: everybody who waits polls, and the whole line for each would be much.
    """
    at = micros(session.created_at)
    older = or_(_s.created_at < at, and_(_s.created_at == at, _s.id <= session.id))
    here = func.sum(case((_s.id == session.id, 1), else_=0))
    row = connection.execute(
        select(func.count(), func.sum(case((older, 1), else_=0)), here).where(_WAITS)
    ).one()
    return (int(row[1]), int(row[0])) if row[2] else None

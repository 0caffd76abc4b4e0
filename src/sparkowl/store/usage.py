"""DPU time in the store: of many sessions as a stream, and of a workgroup as one sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from sparkowl.domain.limits import COORDINATOR_DPUS
from sparkowl.domain.usage import DAY, PRINCIPAL, TAG, WORK_GROUP, Use
from sparkowl.store import executors, tables
from sparkowl.store.tables import micros

_s: Final = tables.sessions.c
_e: Final = tables.executors.c
_d: Final = tables.drivers.c

#: Rows that are read at a time.
_AT_ONCE: Final = 5_000
#: The tally fills in the days.
_COLUMNS: Final = {WORK_GROUP: _s.work_group, PRINCIPAL: _s.principal, DAY: null()}


def _later(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((one > other, one), else_=other)


def _earlier(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((one < other, one), else_=other)


# --- a stream of all sessions ------------------------------------------------------------------


def stream(
    connection: Connection,
    by: Sequence[str],
    *,
    since: datetime,
    until: datetime,
    work_group: str | None,
) -> Iterator[Use]:
    """The uses between two moments, for :func:`sparkowl.domain.usage.tally`; in no order.

    To be read within one transaction: PostgreSQL keeps the rest of the rows no longer.

    ``by`` names the group's values (:func:`sparkowl.domain.usage.groups_by`). What lives is counted
    until ``until``.
    """
    window = literal(micros(since)), literal(micros(until))
    for query in (_coordinators(*window), _workers(*window)):
        grouped = _grouped(query, by)
        if work_group is not None:
            grouped = grouped.where(_s.work_group == work_group)
        width = len(by)
        for row in connection.execute(grouped, execution_options={"yield_per": _AT_ONCE}):
            yield Use(tuple(row[4:]) if width else (), *row[:4])


def _coordinators(since: ColumnElement[int], until: ColumnElement[int]) -> Select[Any]:
    end = func.coalesce(_s.ended_at, until)
    return select(
        _later(_s.active_at, since), _earlier(end, until), literal(COORDINATOR_DPUS), literal(1)
    ).where(_s.active_at < until, or_(_s.ended_at.is_(None), _s.ended_at > since))


def _workers(since: ColumnElement[int], until: ColumnElement[int]) -> Select[Any]:
    end = _earlier(func.coalesce(_e.ended_at, until), func.coalesce(_s.ended_at, until))
    begin = _later(_e.started_at, _s.active_at)
    return (
        select(_later(begin, since), _earlier(end, until), executors.DPUS, literal(0))
        .select_from(tables.executors)
        .join(tables.drivers, _d.id == _e.driver_id)
        .join(tables.sessions, _s.id == _d.session_id)
        .where(_s.active_at < until, or_(_e.ended_at.is_(None), _e.ended_at > since))
    )


def _grouped(query: Select[Any], by: Sequence[str]) -> Select[Any]:
    for name in by:
        if name.startswith(TAG):
            tag = tables.tags.alias()
            of_session = and_(
                tag.c.resource == literal("session/") + _s.id,
                tag.c.key == name.removeprefix(TAG),
            )
            query = query.add_columns(tag.c.value).outerjoin(tag, of_session)
        else:
            query = query.add_columns(_COLUMNS[name])
    return query


# --- what a workgroup used in a period ---------------------------------------------------------


def _used_in_period() -> Select[Any]:
    """One statement. Each part is a range of an index, so sessions that ended before the period
    began cost nothing; those within it are summed up without a look at their rows."""
    since, now = bindparam("since", type_=BigInteger), bindparam("now", type_=BigInteger)
    work_group = bindparam("work_group", type_=String)
    parts = []
    for lived in (_s.ended_at.is_(None), _s.ended_at > since):
        end = _earlier(func.coalesce(_s.ended_at, now), now)
        time = end - _later(_s.active_at, since)
        parts.append(
            select((COORDINATOR_DPUS * time).label("time")).where(
                _s.work_group == work_group, lived, _s.active_at < now
            )
        )
    # Most sessions have no workers, so the workers are gone through, not the sessions. SQLite would
    # begin with the whole workgroup, unless it cannot find it by an index.
    of_group = func.coalesce(_s.work_group, "") == work_group
    for lived in (_e.ended_at.is_(None), _e.ended_at > since):
        end = _earlier(func.coalesce(_e.ended_at, now), func.coalesce(_s.ended_at, now))
        begin = _later(_later(_e.started_at, _s.active_at), since)
        parts.append(
            select(case((end > begin, executors.DPUS * (end - begin)), else_=0).label("time"))
            .select_from(tables.executors)
            .join(tables.drivers, _d.id == _e.driver_id)
            .join(tables.sessions, _s.id == _d.session_id)
            .where(of_group, lived, _s.active_at < now)
        )
    together = union_all(*parts).subquery()
    return select(func.coalesce(func.sum(together.c.time), 0))


#: With ``work_group``, ``since`` and ``now``.
USED: Final = _used_in_period()


def used(connection: Connection, work_group: str, since: datetime, now: datetime) -> timedelta:
    """The DPU time that the workgroup's sessions used between two moments."""
    which = {"work_group": work_group, "since": micros(since), "now": micros(now)}
    return timedelta(microseconds=int(connection.execute(USED, which).scalar_one()))

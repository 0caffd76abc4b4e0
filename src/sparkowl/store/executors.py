"""The executors that Spark reports beside its driver, and when each of them lived."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    case,
    false,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from sparkowl.domain.executor import Fate, Worker
from sparkowl.domain.ids import DriverId
from sparkowl.domain.limits import CORES_PER_DPU
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment, optional_micros, optional_moment

_t: Final = tables.executors.c
#: As ``domain.executor.dpus`` counts them; a test compares both.
DPUS: Final = case(
    (_t.cores > CORES_PER_DPU, (_t.cores + CORES_PER_DPU - 1) // CORES_PER_DPU), else_=1
)
_IS: Final = {
    Fate.LIVES: and_(_t.ended_at.is_(None), _t.failed.is_(False)),
    Fate.ENDED: and_(_t.ended_at.is_not(None), _t.failed.is_(False)),
    Fate.FAILED: _t.failed.is_(True),
}
# Built once: SQLAlchemy takes longer to build a statement than SQLite takes to run it.
_OF_SESSION: Final = (
    select(tables.executors)
    .join(tables.drivers, tables.drivers.c.id == _t.driver_id)
    .where(
        tables.drivers.c.session_id == bindparam("session_id"),
        _t.started_at < bindparam("until"),
        or_(_t.ended_at.is_(None), _t.ended_at > bindparam("since")),
    )
)
_FIND: Final = select(tables.executors).where(
    _t.driver_id == bindparam("driver_id"), _t.executor_id == bindparam("executor_id")
)


def find(connection: Connection, driver_id: str, executor_id: str) -> Worker | None:
    which = {"driver_id": driver_id, "executor_id": executor_id}
    row = connection.execute(_FIND, which).one_or_none()
    return None if row is None else _worker(row)


def record(connection: Connection, worker: Worker) -> None:
    """Write what Spark says now. When it started stays as it was first told: lists rest on it."""
    known = find(connection, worker.driver_id, worker.executor_id)
    if known is None:
        connection.execute(
            insert(tables.executors).values(
                driver_id=worker.driver_id,
                executor_id=worker.executor_id,
                cores=worker.cores,
                started_at=micros(worker.started_at),
                ended_at=optional_micros(worker.ended_at),
                failed=worker.failed,
            )
        )
        return
    connection.execute(
        update(tables.executors)
        .where(_t.driver_id == worker.driver_id, _t.executor_id == worker.executor_id)
        .values(cores=worker.cores, ended_at=optional_micros(worker.ended_at), failed=worker.failed)
    )


def set_ended(connection: Connection, driver_id: str, at: datetime) -> None:
    """The driver has ended: those of its executors that lived end with it."""
    connection.execute(
        update(tables.executors)
        .where(_t.driver_id == driver_id, _t.ended_at.is_(None))
        .values(ended_at=micros(at))
    )


def of_session(
    connection: Connection, session_id: str, since: datetime, until: datetime
) -> Sequence[Worker]:
    """The workers of a session that lived at some time between ``since`` and ``until``."""
    which = {"session_id": session_id, "since": micros(since), "until": micros(until)}
    return [_worker(row) for row in connection.execute(_OF_SESSION, which)]


def list_page(
    connection: Connection,
    driver_id: DriverId,
    fates: Collection[Fate],
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Worker]:
    """Newest first, from behind ``after`` (start in microseconds, Spark's id)."""
    query = (
        select(tables.executors)
        .where(_t.driver_id == driver_id, or_(false(), *(_IS[fate] for fate in fates)))
        .order_by(_t.started_at.desc(), _t.executor_id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(_t.started_at, _t.executor_id) < after)
    return [_worker(row) for row in connection.execute(query)]


def _worker(row: Row[Any]) -> Worker:
    return Worker(
        driver_id=DriverId(row.driver_id),
        executor_id=row.executor_id,
        cores=row.cores,
        started_at=moment(row.started_at),
        ended_at=optional_moment(row.ended_at),
        failed=row.failed,
    )

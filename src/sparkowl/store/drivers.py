"""Drivers in the store. A driver has facts, not states: each is written when it is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import DriverId, ServerId, SessionId
from sparkowl.domain.reason import Code, code_of
from sparkowl.store import executors, tables
from sparkowl.store.tables import micros, moment, optional_micros, optional_moment

_t: Final = tables.drivers.c
_BY_ID: Final = select(tables.drivers).where(_t.id == bindparam("id"))
_OF_SESSION: Final = select(tables.drivers).where(_t.session_id == bindparam("session_id"))


def get(connection: Connection, driver_id: str) -> Driver | None:
    row = connection.execute(_BY_ID, {"id": driver_id}).one_or_none()
    return None if row is None else _driver(row)


def of_session(connection: Connection, session_id: str) -> Driver | None:
    """The session's driver. A session has at most one in its life."""
    row = connection.execute(_OF_SESSION, {"session_id": session_id}).one_or_none()
    return None if row is None else _driver(row)


def insert_driver(connection: Connection, driver: Driver) -> None:
    connection.execute(
        insert(tables.drivers).values(
            id=driver.id,
            session_id=driver.session_id,
            fingerprint=driver.fingerprint,
            created_at=micros(driver.created_at),
            handle=driver.handle,
            ready_at=optional_micros(driver.ready_at),
            adopted_at=optional_micros(driver.adopted_at),
            ended_at=optional_micros(driver.ended_at),
            reason=driver.reason,
            code=driver.code,
            details=json.dumps(dict(driver.details)),
            server=driver.server,
        )
    )


def take_warm(
    connection: Connection, fingerprint: str, session_id: SessionId, server: ServerId | None
) -> Driver | None:
    """Give the longest-waiting ready driver of this fingerprint to the session; None: no such.

    Only from the pool of the session's own server: the others' members have their links elsewhere.
    """
    waiting = (
        select(_t.id)
        .where(
            _t.session_id.is_(None),
            _t.server == server,
            _t.fingerprint == fingerprint,
            _t.ready_at.is_not(None),
            _t.ended_at.is_(None),
            _t.reason.is_(None),
        )
        .order_by(_t.ready_at)
        .limit(1)
    )
    driver_id = connection.execute(waiting).scalar_one_or_none()
    if driver_id is None:
        return None
    taken = connection.execute(
        update(tables.drivers)
        .where(_t.id == driver_id, _t.session_id.is_(None), _t.reason.is_(None))
        .values(session_id=session_id)
    )
    return get(connection, driver_id) if taken.rowcount == 1 else None


def withdraw(connection: Connection, driver_id: DriverId, reason: str) -> bool:
    """Take a waiting driver out of the pool, so that no session gets it; False: one has it."""
    result = connection.execute(
        update(tables.drivers)
        .where(_t.id == driver_id, _t.session_id.is_(None))
        .values(reason=func.coalesce(_t.reason, reason))
    )
    return result.rowcount == 1


def count_starting(connection: Connection) -> int:
    """Drivers that are not ready yet."""
    query = (
        select(func.count())
        .select_from(tables.drivers)
        .where(_t.ended_at.is_(None), _t.ready_at.is_(None))
    )
    return int(connection.execute(query).scalar_one())


def attach(
    connection: Connection, driver_id: DriverId, handle: str, *, was: str | None = None
) -> None:
    """Write the handle, unless another was written since the caller looked."""
    there = _t.handle.is_(None) if was is None else _t.handle == was
    connection.execute(
        update(tables.drivers).where(_t.id == driver_id, there).values(handle=handle)
    )


def set_ready(
    connection: Connection, driver_id: DriverId, at: datetime, details: Mapping[str, Any]
) -> None:
    _set(connection, driver_id, ready_at=micros(at), details=json.dumps(dict(details)))


def set_adopted(connection: Connection, driver_id: DriverId, at: datetime) -> None:
    _set(connection, driver_id, adopted_at=micros(at))


def set_reason(connection: Connection, driver_id: DriverId, reason: str, code: Code) -> None:
    """Why the driver is ending. The first reason is the cause; later ones are consequences."""
    connection.execute(
        update(tables.drivers)
        .where(_t.id == driver_id, _t.reason.is_(None))
        .values(reason=reason, code=str(code))
    )


def set_ended(connection: Connection, driver_id: DriverId, at: datetime) -> None:
    """The driver has ended, and its executors with it."""
    executors.set_ended(connection, driver_id, at)
    connection.execute(
        update(tables.drivers)
        .where(_t.id == driver_id, _t.ended_at.is_(None))
        .values(ended_at=micros(at))
    )


def list_live(connection: Connection) -> Sequence[Driver]:
    """Drivers that have not ended, oldest first."""
    query = select(tables.drivers).where(_t.ended_at.is_(None)).order_by(_t.created_at)
    return [_driver(row) for row in connection.execute(query)]


def _set(connection: Connection, driver_id: DriverId, **values: Any) -> None:
    connection.execute(update(tables.drivers).where(_t.id == driver_id).values(**values))


def _driver(row: Row[Any]) -> Driver:
    return Driver(
        id=DriverId(row.id),
        session_id=None if row.session_id is None else SessionId(row.session_id),
        fingerprint=row.fingerprint,
        created_at=moment(row.created_at),
        handle=row.handle,
        ready_at=optional_moment(row.ready_at),
        adopted_at=optional_moment(row.adopted_at),
        ended_at=optional_moment(row.ended_at),
        reason=row.reason,
        code=None if row.code is None else code_of(row.code),
        details=json.loads(row.details),
        server=None if row.server is None else ServerId(row.server),
    )

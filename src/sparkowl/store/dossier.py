"""Everything that the rows say of one session, for whoever looks into its end."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, Table, func, select

from sparkowl.store import tables
from sparkowl.store.tables import moment

#: Calculations, the latest, with their histories.
CALCULATIONS: Final = 500


def of_session(connection: Connection, session_id: str, *, with_code: bool) -> dict[str, Any]:
    """Rows by kind, times as text; empty where there is no such session."""
    found = _rows(connection, tables.sessions, "id", session_id)
    if not found:
        return {}
    driver = _rows(connection, tables.drivers, "session_id", session_id)
    return {
        "session": found[0],
        "history": _rows(connection, tables.session_events, "session_id", session_id),
        "driver": driver[0] if driver else None,
        "executors": _rows(connection, tables.executors, "driver_id", driver[0]["id"])
        if driver
        else [],
        "calculations": _calculations(connection, session_id, with_code=with_code),
        "calculations_in_all": connection.execute(
            select(func.count())
            .select_from(tables.calculations)
            .where(tables.calculations.c.session_id == session_id)
        ).scalar_one(),
    }


def _rows(connection: Connection, table: Table, column: str, value: str) -> list[dict[str, Any]]:
    order = next(iter(table.primary_key.columns))
    query = select(table).where(table.c[column] == value).order_by(order).limit(10_000)
    return [_readable(dict(row)) for row in connection.execute(query).mappings()]


def _calculations(
    connection: Connection, session_id: str, *, with_code: bool
) -> list[dict[str, Any]]:
    t = tables.calculations.c
    columns = [column for column in t if with_code or column.name != "code"]
    query = (
        select(*columns)
        .where(t.session_id == session_id)
        .order_by(t.submitted_at.desc(), t.id)
        .limit(CALCULATIONS)
    )
    return [
        _readable(dict(row))
        | {"history": _rows(connection, tables.calculation_events, "calculation_id", row["id"])}
        for row in connection.execute(query).mappings()
    ]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if value is None:
            continue
        if name == "at" or name.endswith(("_at", "_since")):
            row[name] = moment(value).isoformat()
        elif name in ("request", "timeline", "details", "handle"):
            with suppress(ValueError):
                row[name] = json.loads(value)
    return row

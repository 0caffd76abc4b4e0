"""A database with a past: rows of sessions that ended long ago, as many as one likes.

Written straight into the file of a stopped server: through the API a million of them would take
hours. Rows are what the server itself would have written, and the same each time.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sparkowl.domain.workgroup import built_in
from sparkowl.store import migrate
from sparkowl.store.tables import metadata, moment

#: 2026-01-01, in microseconds: when the first session was started; one more every ten seconds.
EPOCH: Final = 1_767_225_600_000_000
STEP: Final = 10_000_000
ENGINE: Final = "Apache Spark version 4.1"
REQUEST: Final = json.dumps({"EngineConfiguration": {"MaxConcurrentDpus": 2}})
ROLE: Final = "arn:aws:iam::000000000000:role/Spark"
#: Whose calculations are a tenth of the number of sessions.
BUSIEST: Final = "00000000-0000-4000-8000-000000000000"
BATCH: Final = 20_000

Row = dict[str, Any]


def fill(path: Path, sessions: int, work_groups: int) -> None:
    """Make the database, with so many sessions that have ended; half of them in ``spark``."""
    migrate.upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        # Nothing is lost if this is interrupted: it is made anew.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN")
        indexes = _without_indexes(database)
        _insert(database, "workgroups", _work_groups(work_groups))
        for begin in range(0, sessions, BATCH):
            _insert_batch(database, range(begin, min(begin + BATCH, sessions)), work_groups)
        calculations = ((number, BUSIEST) for number in range(sessions // 10))
        _insert(database, "calculations", (_calculation(n, owner) for n, owner in calculations))
        for statement in indexes:
            database.execute(statement)
        database.execute("COMMIT")


def session_id(number: int) -> str:
    """The id of a session; the first is the busiest."""
    return BUSIEST if number == 0 else _id("session", number)


def _id(kind: str, number: int) -> str:
    return str(UUID(int=random.Random(f"{kind} {number}").getrandbits(128), version=4))


def _without_indexes(database: sqlite3.Connection) -> list[str]:
    """Drop them, for they are made far faster at the end; the statements that make them again."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    found = database.execute(query).fetchall()
    for name, _ in found:
        database.execute(f"DROP INDEX {name}")
    return [statement for _, statement in found]


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[Row]) -> None:
    columns = [column.name for column in metadata.tables[table].columns]
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    database.executemany(
        f"INSERT INTO {table} ({names}) VALUES ({places})",
        ([row.get(name) for name in columns] for row in rows),
    )


def _insert_batch(database: sqlite3.Connection, numbers: range, work_groups: int) -> None:
    _insert(database, "sessions", (_session(n, work_groups) for n in numbers))
    _insert(database, "drivers", (_driver(n) for n in numbers))
    _insert(database, "executors", (_executor(n) for n in numbers))
    _insert(database, "calculations", (_calculation(n, session_id(n)) for n in numbers if n))
    _insert(database, "tags", (tag for n in numbers for tag in _tags(n)))
    _insert(database, "request_tokens", (_token(n) for n in numbers))
    _insert(database, "session_events", (event for n in numbers for event in _events(n)))


def _work_groups(count: int) -> Iterator[Row]:
    version = {"SelectedEngineVersion": ENGINE, "EffectiveEngineVersion": ENGINE}
    configuration = json.dumps({"EngineVersion": version, "ExecutionRole": ROLE})
    row = {"state": "ENABLED", "created_at": EPOCH - STEP, "configuration": configuration}
    yield from (row | {"name": f"group-{number:04}"} for number in range(count - 2))
    for group in built_in(moment(EPOCH - STEP)):
        yield row | {"name": group.name, "configuration": json.dumps(dict(group.configuration))}


def _session(number: int, work_groups: int) -> Row:
    at = EPOCH + number * STEP
    spark = number % 2 == 0 or work_groups == 2
    return {
        "id": session_id(number),
        "work_group": "spark" if spark else f"group-{number // 2 % (work_groups - 2):04}",
        "state": "FAILED" if number % 50 == 48 else "TERMINATED",
        "engine_version": ENGINE,
        "description": f"nightly {number}",
        "request": REQUEST,
        "idle_timeout": 1_200_000_000,
        "output_location": "s3://sparkowl-results",
        "created_at": at,
        "modified_at": at + 60_000_000 + number,
        "active_at": at + 1_000_000,
        "idle_since": None,
        "ended_at": at + 60_000_000 + number,
        "reason": "Session was terminated per request",
        "timeline": json.dumps({"asked": at / 1e6, "warm": True}),
        "version": 5,
    }


def _driver(number: int) -> Row:
    at = EPOCH + number * STEP
    return {
        "id": _id("driver", number),
        "session_id": session_id(number),
        "fingerprint": "f" * 64,
        "created_at": at,
        "handle": json.dumps({"v": 1, "pid": number}),
        "ready_at": at + 500_000,
        "adopted_at": at + 600_000,
        "ended_at": at + 60_000_000 + number,
        "reason": None,
        "details": "{}",
    }


def _executor(number: int) -> Row:
    at = EPOCH + number * STEP
    return {
        "driver_id": _id("driver", number),
        "executor_id": "driver",
        "cores": 4,
        "started_at": at,
        "ended_at": at + 60_000_000 + number,
        "failed": 0,
    }


def _calculation(number: int, owner: str) -> Row:
    at = EPOCH + number * STEP
    return {
        "id": _id(f"calculation of {owner}", number),
        "session_id": owner,
        "state": "FAILED" if number % 10 == 9 else "COMPLETED",
        "description": None,
        "code": "spark.range(10).count()",
        "output_location": f"s3://sparkowl-results/{owner}/{number}",
        "submitted_at": at,
        "started_at": at + 1000,
        "completed_at": at + 1_000_000,
        "reason": "NameError" if number % 10 == 9 else None,
        "progress": 100,
        "version": 4,
    }


def _tags(number: int) -> Iterator[Row]:
    resource = f"session/{session_id(number)}"
    yield {"resource": resource, "key": "team", "value": f"team-{number % 7}"}
    yield {"resource": resource, "key": "cost", "value": str(number % 100)}


def _token(number: int) -> Row:
    return {
        "operation": "StartSession",
        "token": _id("token", number),
        "parameters": "0" * 64,
        "resource_id": session_id(number),
        "created_at": EPOCH + number * STEP,
    }


def _events(number: int) -> Iterator[Row]:
    at = EPOCH + number * STEP
    states = (None, "CREATING", "CREATED", "IDLE", "TERMINATING", "TERMINATED")
    events = ("START_ASKED", "DRIVER_READY", "ADOPTED", "TERMINATE_ASKED", "DRIVER_ENDED")
    for step, event in enumerate(events):
        yield {
            "session_id": session_id(number),
            "event": event,
            "from_state": states[step],
            "to_state": states[step + 1],
            "at": at + step,
        }

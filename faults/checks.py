"""The invariants: what is wrong now, as sentences. Most comes right by itself, within a bound."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from faults.catalog import BOUND_S, may_end
from faults.life import ROWS, STDERR, STDOUT, Life, Start
from faults.world import Broken, Down, World
from sparkowl.domain import calculation, session

ENDED: Final = ("TERMINATED", "FAILED")
OVER: Final = ("COMPLETED", "FAILED", "CANCELED")


def settle(life: Life, fault: str) -> list[str]:
    """Wait until nothing is wrong; what still is after the bound."""
    began = time.monotonic()
    while wrong := _wrong(life, fault):
        life.waited_for = wrong
        waited_s = time.monotonic() - began
        if waited_s > BOUND_S:
            return wrong
        # What takes long needs no fine answer, and looking costs what it waits for.
        time.sleep(0.1 + waited_s / 20)
    return []


def _wrong(life: Life, fault: str) -> list[str]:
    try:
        # One after the other, the costly ones last: most of the time it is the session that is
        # waited for. Those of `_starts` are writes, too.
        return (
            [*_session(life, fault), *_calculation(life, fault)]
            or list(at_rest(life.world))
            or list(_starts(life))
        )
    except (Down, ClientError, Broken, sqlite3.Error, OSError) as error:
        return [f"{type(error).__name__}: {error}"]


def _session(life: Life, fault: str) -> Iterator[str]:
    identity = life.session_id
    status = life.world.call("get_session_status", SessionId=identity)["Status"]
    state = status["State"]
    if state in ENDED:
        if not status.get("StateChangeReason"):
            yield f"session {identity} is {state} without a reason"
        if life.ending and state != "TERMINATED":
            yield f"session {identity} was to be terminated and is {state}"
        if not life.ending and not may_end(fault):
            yield f"session {identity} is {state}: {status.get('StateChangeReason')}"
    elif life.ending or state != "IDLE":
        yield f"session {identity} is {state}"


def _calculation(life: Life, fault: str) -> Iterator[str]:
    if life.calculation is None or life.calculation.id is None:
        return
    yield from _block(life.world, life.calculation.id, ROWS, may_fail=may_end(fault))


def _block(world: World, identity: str, rows: int, *, may_fail: bool) -> Iterator[str]:
    found = world.call("get_calculation_execution", CalculationExecutionId=identity)
    state, reason = found["Status"]["State"], found["Status"].get("StateChangeReason")
    if state not in OVER:
        yield f"calculation {identity} is {state}"
        return
    if state != "COMPLETED" and not reason:
        yield f"calculation {identity} is {state} without a reason"
    if state != "COMPLETED" and not may_fail:
        yield f"calculation {identity} is {state}: {reason}"
    refused = state == "FAILED" and "stored" in (reason or "")
    if refused:
        return
    result = found["Result"]
    names = ("StdOutS3Uri", "StdErrorS3Uri", "ResultS3Uri")
    stdout, stderr, shown = (world.read(result[name]) for name in names)
    results = json.loads(shown)
    if state != "COMPLETED":
        return
    if (stdout, stderr) != (STDOUT, STDERR):
        yield f"calculation {identity} has other output: {stdout!r}, {stderr!r}"
    values = [one["data"].get("text/plain") for one in results["outputs"]]
    if values != [str(rows)]:
        yield f"calculation {identity} has another result: {values}"


def _starts(life: Life) -> Iterator[str]:
    for start in (life.session, life.calculation):
        if start is not None and start.id is not None:
            yield from _start(start)


def _start(start: Start) -> Iterator[str]:
    if start.broken_promise is not None:
        yield start.broken_promise
    if start.again() != start.id:
        yield f"the token of {start.id} gives another one"
    if start.rows() != 1:
        yield f"{start.rows()} rows for the token of {start.id}"


def at_rest(world: World) -> Iterator[str]:
    """Nothing is left over, and no row waits for what is not there."""
    live = {row["id"]: row for row in world.query("SELECT * FROM drivers WHERE ended_at IS NULL")}
    yield from _rows(world, live)
    yield from _history(world)
    yield from _zombies(world)
    for pid, command in world.processes().items():
        if not any(_is_of(world, pid, driver) for driver in live):
            yield f"process {pid} is of no living driver: {command[:120]}"
    for folder in (world.data_dir / "drivers").iterdir():
        if folder.name not in live:
            yield f"the folder of driver {folder.name} is left"
    for draft in (world.data_dir / "staging").iterdir():
        yield f"a draft is left: {draft.name}"
    for driver in live:
        for kind in ("spool", "outbox"):
            place = world.data_dir / "drivers" / driver / kind
            for file in place.iterdir() if place.exists() else ():
                if kind == "outbox" or not _kept_on_purpose(world, file.name):
                    yield f"driver {driver} has {kind}/{file.name}"


def _kept_on_purpose(world: World, calculation_id: str) -> bool:
    """Outputs that could not be stored wait in the spool for the end of the driver."""
    query = "SELECT reason FROM calculations WHERE id = ? AND state = 'FAILED'"
    return any("stored" in row["reason"] for row in world.query(query, calculation_id))


def _rows(world: World, live: dict[str, Any]) -> Iterator[str]:
    marks = ", ".join(f"'{state}'" for state in session.TERMINAL)
    for row in world.query(f"SELECT * FROM sessions WHERE state NOT IN ({marks})"):
        found = world.query("SELECT * FROM drivers WHERE session_id = ?", row["id"])
        if not any(_lives(world, driver) for driver in found if driver["id"] in live):
            yield f"session {row['id']} is {row['state']} without a living driver"
    query = (
        "SELECT drivers.id, state FROM drivers JOIN sessions ON sessions.id = session_id "
        f"WHERE drivers.ended_at IS NULL AND state IN ({marks})"
    )
    for row in world.query(query):
        yield f"driver {row['id']} of a session that is {row['state']} has not ended"
    for driver in live.values():
        if not _lives(world, driver):
            yield f"driver {driver['id']} has not ended in its row, and has no process"


def _lives(world: World, driver: Any) -> bool:
    if driver["handle"] is None:
        return False
    place = json.loads(driver["handle"])
    try:
        stat = Path(f"/proc/{place['pid']}/stat").read_text()
    except OSError:
        return False
    state, *fields = stat.rpartition(")")[2].split()
    return state not in "ZX" and int(fields[18]) == place["started_at"]


def _is_of(world: World, pid: int, driver: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        here = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return True
    folder = world.data_dir / "drivers" / driver
    return f"SPARKOWL_DRIVER={driver}\0".encode() in environment or here.is_relative_to(folder)


def _zombies(world: World) -> Iterator[str]:
    parents = {world.process.pid, *world.processes()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if state == "Z" and int(parent) in parents:
            yield f"process {entry.name} is a zombie of {parent}"


def _history(world: World) -> Iterator[str]:
    kinds = (("session", session.TRANSITIONS), ("calculation", calculation.TRANSITIONS))
    for noun, table in kinds:
        moves = {
            (str(state), str(to)) for state, row in table.items() for to in row.values()
        }  # fmt: skip
        query = (
            f"SELECT DISTINCT from_state, to_state FROM {noun}_events WHERE from_state IS NOT NULL"
        )
        for row in world.query(query):
            if (row["from_state"], row["to_state"]) not in moves:
                yield f"a {noun} went from {row['from_state']} to {row['to_state']}"


def usable(life: Life, fault: str) -> list[str]:
    """A session that is IDLE runs a new block, with the right output.

    It may turn out only now that it has ended: nobody may have asked anything of what was killed.
    :func:`settle` says afterwards whether it was allowed to.
    """
    if _has_ended(life):
        return []
    rows = ROWS + 1
    start = life.submit(0, rows)
    start.join()
    if start.id is None:
        return [] if _has_ended(life) else [f"session {life.session_id} takes no block"]
    deadline = time.monotonic() + BOUND_S
    while True:
        may_fail = may_end(fault) and _has_ended(life)
        wrong = list(_block(life.world, start.id, rows, may_fail=may_fail))
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.05)


def _has_ended(life: Life) -> bool:
    found = life.world.call("get_session_status", SessionId=life.session_id)
    return found["Status"]["State"] in ENDED

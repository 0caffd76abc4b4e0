"""How long a session takes to start, and what it costs to keep, against a plain script."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.servers import Server, pss_mb, sparkowl, tree

QUERY: Final = "print(spark.range(1_000_000).selectExpr('sum(id)').collect())"
#: A second one, with a shuffle and a sort.
GROUPED: Final = (
    "print(spark.range(1_000_000).selectExpr('id % 10 as k', 'id').groupBy('k').count()"
    ".orderBy('k').collect()[0])"
)
#: What somebody without SparkOwl would write.
PLAIN: Final = f"""
import json, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[*]").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
ready = time.time()
{QUERY}
result = time.time()
{GROUPED}
print(json.dumps([ready, result, time.time()]), flush=True)
sys.stdin.readline()
"""

Pair = tuple[list[float], list[float]]


@dataclass(slots=True)
class Cold:
    """Ours and theirs, round by round."""

    idle: Pair = field(default_factory=lambda: ([], []))
    result: Pair = field(default_factory=lambda: ([], []))
    grouped: Pair = field(default_factory=lambda: ([], []))
    memory: Pair = field(default_factory=lambda: ([], []))


def warm(rounds: int) -> list[float]:
    """Milliseconds from StartSession to IDLE with a warm driver, polled every 10 ms."""
    took = []
    with sparkowl() as server:
        athena = server.client()
        for number in range(rounds):
            server.await_warm()
            began = time.perf_counter()
            session = start(athena)
            took.append((time.perf_counter() - began) * 1000)
            athena.terminate_session(SessionId=session)
            print(f"warm {number + 1}/{rounds}: {took[-1]:.0f} ms", flush=True)
    return took


def cold(rounds: int) -> Cold:
    """A start without a warm driver, and a plain script, in turn. The archive is there already."""
    found = Cold()
    with sparkowl(pool__size="0") as server:
        await_archive(server)
        for number in range(rounds):
            ours, theirs = _our_start(server), _plain_start()
            for pair, a, b in zip(
                (found.idle, found.result, found.grouped, found.memory), ours, theirs, strict=True
            ):
                pair[0].append(a)
                pair[1].append(b)
            print(f"cold {number + 1}/{rounds}: {ours} against {theirs}", flush=True)
    return found


def start(athena: Any) -> str:
    session = athena.start_session(WorkGroup="spark", EngineConfiguration={})["SessionId"]
    while True:
        state = athena.get_session_status(SessionId=session)["Status"]["State"]
        if state == "IDLE":
            return str(session)
        assert state in {"CREATING", "CREATED"}, state
        time.sleep(0.01)


def run(athena: Any, session: str, code: str, *, poll_s: float = 0.02) -> None:
    calculation = athena.start_calculation_execution(SessionId=session, CodeBlock=code)
    name = {"CalculationExecutionId": calculation["CalculationExecutionId"]}
    while True:
        state = athena.get_calculation_execution_status(**name)["Status"]["State"]
        if state == "COMPLETED":
            return
        assert state in {"CREATING", "CREATED", "QUEUED", "RUNNING"}, state
        # A client that asks without a pause takes the processor from what it waits for.
        time.sleep(poll_s)


def await_archive(server: Server) -> None:
    """One session first: it makes the class-data archive, once per machine, in the background."""
    athena = server.client()
    session = start(athena)
    athena.terminate_session(SessionId=session)
    deadline = time.monotonic() + 180
    while _archive_of_next(athena, server) != "used":
        assert time.monotonic() < deadline, "no class-data archive was made"
        time.sleep(5)


def _archive_of_next(athena: Any, server: Server) -> str:
    session = start(athena)
    s3 = server.client("s3")
    place = {"Bucket": "sparkowl-results", "Key": f"{session}/start.json"}
    # It comes a moment after the session is IDLE.
    s3.get_waiter("object_exists").wait(**place, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    athena.terminate_session(SessionId=session)
    found = s3.get_object(**place)
    return str(json.load(found["Body"])["archive"])


def _our_start(server: Server) -> tuple[float, float, float, float]:
    athena = server.client()
    began = time.perf_counter()
    session = start(athena)
    idle = time.perf_counter() - began
    run(athena, session, QUERY)
    result = time.perf_counter() - began
    run(athena, session, GROUPED)
    grouped = time.perf_counter() - began
    memory = pss_mb(tree(_agent_of(server, session)))
    athena.terminate_session(SessionId=session)
    while athena.get_session_status(SessionId=session)["Status"]["State"] != "TERMINATED":
        time.sleep(0.05)
    return round(idle, 2), round(result, 2), round(grouped, 2), round(memory, 1)


def _agent_of(server: Server, session: str) -> int:
    database = sqlite3.connect(f"file:{server.data_dir / 'sparkowl.db'}?mode=ro", uri=True)
    query = "SELECT handle FROM drivers WHERE session_id = ?"
    handle = database.execute(query, (session,)).fetchone()[0]
    database.close()
    return int(json.loads(handle)["pid"])


def _plain_start() -> tuple[float, float, float, float]:
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", PLAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for _ in ("sum", "group"):
        process.stdout.readline()
    ready, result, grouped = json.loads(process.stdout.readline())
    memory = pss_mb(tree(process.pid))
    process.communicate("\n")
    times = (round(at - began, 2) for at in (ready, result, grouped))
    return (*times, round(memory, 1))

"""What a call costs beside a long past: a million sessions against a thousand."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks import history
from benchmarks.calls import hammer, signed_request
from benchmarks.servers import Server, sparkowl
from benchmarks.starts import Pair, start

FEW: Final = 1_000
MANY: Final = 1_000_000
#: Work groups beside few sessions and beside many.
GROUPS: Final = {FEW: 60, MANY: 1_000}
#: Sessions that live, in both.
LIVE: Final = 10
#: Rows on every page that is measured, so that both answer as much.
PAGE: Final = 25
SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One call to measure."""

    name: str
    operation: str
    request: dict[str, Any]


def run(rounds: int) -> list[tuple[str, Pair]]:
    """Milliseconds of each call over one connection: beside many rows, and beside few."""
    quiet = {"launcher": "fake", "pool__size": "0", "limits__sessions": "1000"}
    quiet |= {"limits__account_dpus": "1000"}
    print(f"lists: {MANY:,} sessions are written; that takes some minutes", flush=True)
    with (
        sparkowl(prepare=_past(MANY), **quiet) as large,
        sparkowl(prepare=_past(FEW), **quiet) as small,
    ):
        pairs = list(zip(_calls(large, MANY), _calls(small, FEW), strict=True))
        found: list[tuple[str, Pair]] = [(many.name, ([], [])) for many, _ in pairs]
        for number in range(rounds):
            for (_, (ours, theirs)), (many, few) in zip(found, pairs, strict=True):
                ours.append(_ms(large, many))
                theirs.append(_ms(small, few))
            print(f"lists {number + 1}/{rounds}", flush=True)
        found.append(("StartSession", (_start_ms(large, rounds), _start_ms(small, rounds))))
    return found


def _past(sessions: int) -> Any:
    return partial(history.fill, sessions=sessions, work_groups=GROUPS[sessions])


def _calls(server: Server, sessions: int) -> list[Call]:
    athena = server.client()
    live = [start(athena) for _ in range(LIVE)]
    ended = {"WorkGroup": "spark", "StateFilter": "TERMINATED"}
    # Half of the sessions are in this workgroup; 80 % of them are passed by.
    deep = _walk(athena.list_sessions, ended, "Sessions", sessions * 2 // 5)
    busiest = {"SessionId": history.BUSIEST}
    deep_block = _walk(
        athena.list_calculation_executions, busiest, "Calculations", sessions * 7 // 100
    )
    middle = history.session_id(sessions // 2)
    page = {"MaxResults": PAGE}
    return [
        Call("ListSessions, the active ones", "ListSessions", {"WorkGroup": "spark"}),
        Call("ListSessions, IDLE", "ListSessions", {"WorkGroup": "spark", "StateFilter": "IDLE"}),
        Call("ListSessions, TERMINATED", "ListSessions", ended | page),
        Call("    ... a page at 80 % of them", "ListSessions", ended | page | {"NextToken": deep}),
        Call("GetSessionStatus of a live one", "GetSessionStatus", {"SessionId": live[0]}),
        Call("    ... of one that has ended", "GetSessionStatus", {"SessionId": middle}),
        Call("ListCalculationExecutions", "ListCalculationExecutions", busiest | page),
        Call(
            "    ... a page at 70 % of them",
            "ListCalculationExecutions",
            busiest | page | {"NextToken": deep_block},
        ),
        Call("ListWorkGroups", "ListWorkGroups", page),
    ]


def _walk(call: Any, request: dict[str, Any], member: str, rows: int) -> str:
    """The token of the page behind so many rows."""
    token: dict[str, str] = {}
    while True:
        answer = call(**request, **token, MaxResults=min(100, rows))
        rows -= len(answer[member])
        if rows == 0:
            return str(answer["NextToken"])
        token = {"NextToken": answer["NextToken"]}


def _ms(server: Server, call: Call) -> float:
    request = signed_request(server, call.operation, json.dumps(call.request))
    began = time.perf_counter()
    count = hammer(server.url, request, began + SECONDS)
    return (time.perf_counter() - began) * 1000 / count


def _start_ms(server: Server, rounds: int) -> list[float]:
    """Milliseconds of StartSession, until its row is on the disk."""
    athena = server.client()
    took = []
    for _ in range(rounds * 5):
        began = time.perf_counter()
        started = athena.start_session(WorkGroup="spark", EngineConfiguration={})
        took.append((time.perf_counter() - began) * 1000)
        athena.terminate_session(SessionId=started["SessionId"])
    return took

"""How long sessions are without a server that looks after them when it is started again.

Eight sessions on real Spark, half of them busy. Measured from the line that says that the server is
ready, until each of them has shown that it is back. That the API calls it IDLE or BUSY alone would
be no feat: a state is a row, and the row was never lost. So every idle session is given a block,
and is back when that is COMPLETED; the block that a busy one ran all the time is let go, and the
session is back when that is COMPLETED. Either takes its driver's link.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import Server, sparkowl
from benchmarks.starts import run, start

SESSIONS: Final = 8
#: Between the end of one server and the start of the next: by then agents dial seldom.
AWAY_S: Final = 8.0
_GO: Final = "go"
#: Runs until the file is there, in the session's own folder.
_BUSY: Final = f"""
import pathlib, time
while not pathlib.Path({_GO!r}).exists():
    time.sleep(0.01)
pathlib.Path({_GO!r}).unlink()
"""


@dataclass(slots=True)
class Restarts:
    """Seconds from ready until all sessions were back, round by round."""

    killed: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    #: Seconds from the start of the process to its being ready.
    ready: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Busy:
    """A session that runs a block, which is let go by a file."""

    session: str
    go: Path
    calculation: str = ""

    def begin(self, athena: Any) -> None:
        submitted = athena.start_calculation_execution(SessionId=self.session, CodeBlock=_BUSY)
        self.calculation = submitted["CalculationExecutionId"]
        _await(athena, self.calculation, "RUNNING")


def restarts(rounds: int) -> Restarts:
    """A server with eight live sessions is killed, and stopped, in turn."""
    found = Restarts()
    with sparkowl(pool__size="0", keep_sessions="true", driver__heap="512m") as server:
        athena = server.client()
        sessions = [start(athena) for _ in range(SESSIONS)]
        idle = sessions[: SESSIONS // 2]
        busy = [
            _Busy(session, _go_of(server, athena, session)) for session in sessions[len(idle) :]
        ]
        for number in range(rounds):
            for how, took in ((signal.SIGKILL, found.killed), (signal.SIGTERM, found.stopped)):
                ready, back = _restart(server, how, idle, busy)
                found.ready.append(ready)
                took.append(back)
                print(
                    f"restart {number + 1}/{rounds}, {how.name}: ready in {ready:.2f} s, "
                    f"all back {back:.2f} s later",
                    flush=True,
                )
        _end(server.client(), sessions)
    return found


def _restart(
    server: Server, how: signal.Signals, idle: list[str], busy: list[_Busy]
) -> tuple[float, float]:
    athena = server.client()
    for one in busy:
        one.begin(athena)
    server.end(how)
    time.sleep(AWAY_S)
    began = time.perf_counter()
    server.start()
    ready = time.perf_counter()
    athena = server.client()
    proofs = [
        *(partial(_idle_is_back, athena, session) for session in idle),
        *(partial(_busy_is_back, athena, one) for one in busy),
    ]
    with ThreadPoolExecutor(SESSIONS) as threads:
        last = max(future.result() for future in [threads.submit(proof) for proof in proofs])
    return ready - began, last - ready


def _idle_is_back(athena: Any, session: str) -> float:
    assert _state(athena, session) == "IDLE"
    run(athena, session, "1")
    return time.perf_counter()


def _busy_is_back(athena: Any, one: _Busy) -> float:
    assert _state(athena, one.session) == "BUSY"
    one.go.touch()
    _await(athena, one.calculation, "COMPLETED")
    return time.perf_counter()


def _state(athena: Any, session: str) -> str:
    return str(athena.get_session_status(SessionId=session)["Status"]["State"])


def _await(athena: Any, calculation: str, wanted: str) -> None:
    name = {"CalculationExecutionId": calculation}
    while True:
        status = athena.get_calculation_execution_status(**name)["Status"]
        if status["State"] == wanted:
            return
        assert status["State"] in {"CREATING", "CREATED", "QUEUED", "RUNNING"}, status
        time.sleep(0.02)


def _go_of(server: Server, athena: Any, session: str) -> Path:
    """The driver's id is that of the only executor of a local session."""
    found = str(athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"])
    return server.data_dir / "drivers" / found / "work" / _GO


def _end(athena: Any, sessions: list[str]) -> None:
    """The server keeps its sessions at its own end, so they are ended here."""
    for session in sessions:
        athena.terminate_session(SessionId=session)
    while any(_state(athena, session) != "TERMINATED" for session in sessions):
        time.sleep(0.1)

"""One session on its way to a point of its life, with a server that stands there."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from faults.world import Broken, Down, World, wait_for

#: Static for Spark: a session that sets it cannot have a warm driver.
COLD: Final = {"SparkProperties": {"spark.default.parallelism": "3"}}
BLOCK: Final = """import sys, time
time.sleep({seconds})
for number in range(3):
    print('line', number)
print('warned', file=sys.stderr)
spark.range({rows}).count()
"""
#: What the block of a run counts; the one that tries the session afterwards counts another.
ROWS: Final = 1000
STDOUT: Final = b"line 0\nline 1\nline 2\n"
STDERR: Final = b"warned\n"
#: The log line at which the server stands, and what else it says.
GATES: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "asked": ("session changed", {"state": "CREATING"}),
    "row written": ("driver intended", {}),
    "process started": ("driver launched", {}),
    "handle written": ("driver attached", {}),
    "linked": ("driver linked", {}),
    "submitted": ("calculation handed over", {}),
    "ended": ("calculation changed", {"state": "COMPLETED"}),
    "terminating": ("driver stopping", {}),
}
#: Lines of the agent.
AGENT_LINES: Final = {"output written": "block over", "output uploaded": "outputs in place"}
STARTS: Final = ("asked", "row written", "process started", "handle written", "linked")


class Start:
    """A call that makes something, on its own thread: the server may stand in the middle of it."""

    def __init__(self, world: World, operation: str, name: str, **request: Any) -> None:
        self._world = world
        self._operation = operation
        self._request = request | {"ClientRequestToken": str(uuid.uuid4()), "Description": name}
        self._table = "sessions" if operation == "start_session" else "calculations"
        self._member = "SessionId" if self._table == "sessions" else "CalculationExecutionId"
        self.name = name
        #: Once it was acknowledged.
        self.id: str | None = None
        self.broken_promise: str | None = None
        self._thread = threading.Thread(target=self._try)
        self._thread.start()

    def _try(self) -> None:
        try:
            self.id = str(self._world.call(self._operation, **self._request)[self._member])
        except Down:
            return
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500 and self.rows():
                self.broken_promise = f"{status} for a start that was committed: {error}"

    def rows(self) -> int:
        query = f"SELECT count(*) AS found FROM {self._table} WHERE description = ?"
        return int(self._world.query(query, self.name)[0]["found"])

    def join(self) -> None:
        self._thread.join(60)

    def again(self) -> str:
        """The same call with the same token, as a client does that got no answer."""
        again = str(self._world.call(self._operation, **self._request)[self._member])
        if self.id is None:
            self.id = again
        return again


class Life:
    """Brings a session to a point. ``driver`` is "" where there is none yet."""

    def __init__(self, world: World, point: str) -> None:
        self.world = world
        self.point = point
        self.session: Start | None = None
        self.calculation: Start | None = None
        self.ending = False
        self._kept: str | None = None
        self.driver = ""
        #: What came right last.
        self.waited_for: list[str] = []

    @property
    def session_id(self) -> str | None:
        return self._kept if self.session is None else self.session.id

    def bring(self) -> None:
        """Come to the point; :class:`Broken` when that does not happen."""
        if self.point in STARTS:
            self._arm(new_session=True)
            self.session = self._start_session()
            found = self.world.reached()
            if self.point not in ("asked", "row written"):
                self.driver = str(found["driver"])
            return
        self._kept = self.world.idle_session()
        self.driver = self.world.driver_of(self._kept)
        if self.point == "terminating":
            self._terminate()
        elif self.point != "idle":
            self._calculate()

    def _arm(self, *, new_session: bool = False, **fields: str) -> None:
        message, more = GATES[self.point]
        self.world.arm(message, new_session=new_session, **more, **fields)

    def _start_session(self) -> Start:
        request = {"WorkGroup": "spark", "EngineConfiguration": COLD}
        return Start(self.world, "start_session", str(uuid.uuid4()), **request)

    def _terminate(self) -> None:
        assert self._kept is not None
        self._arm(session=self._kept)
        self.world.call("terminate_session", SessionId=self._kept)
        self.ending = True
        self.world.reached()

    def _calculate(self) -> None:
        log = self.world.data_dir / "drivers" / self.driver / "agent.log"
        offset = log.stat().st_size
        if self.point in GATES:
            self._arm()
        # Time to break something while it runs, and none to wait for where its end is wanted.
        seconds = 1.5 if self.point in ("submitted", "running") else 0.2
        self.calculation = self.submit(seconds)
        if self.point in GATES:
            self.world.reached()
        elif self.point == "running":
            self._until(lambda: self._calculation_state() == "RUNNING")
        else:
            words = AGENT_LINES[self.point].encode()
            self._until(lambda: words in log.read_bytes()[offset:])

    def submit(self, seconds: float, rows: int = ROWS) -> Start:
        code = BLOCK.format(seconds=seconds, rows=rows)
        request = {"SessionId": self.session_id, "CodeBlock": code}
        return Start(self.world, "start_calculation_execution", str(uuid.uuid4()), **request)

    def _calculation_state(self) -> str:
        assert self.calculation is not None
        query = "SELECT state FROM calculations WHERE description = ?"
        found = self.world.query(query, self.calculation.name)
        return str(found[0]["state"]) if found else ""

    def _until(self, good: Callable[[], bool]) -> None:
        wait_for(good, bool, 20, every_s=0.001)

    def answered(self) -> None:
        """After the fault: wait for what was asked before it, and ask again what had no answer."""
        deadline = time.monotonic() + 60
        for start in (self.session, self.calculation):
            if start is None:
                continue
            start.join()
            while start.id is None:
                try:
                    start.again()
                except (Down, ClientError) as error:
                    if time.monotonic() > deadline or _refused(error):
                        break
                    time.sleep(0.1)
            if start is self.session and start.id is not None:
                self.world.known.append(start.id)
        if self.session is not None and self.session.id is None:
            raise Broken("StartSession is still refused, a minute after the fault")


def _refused(error: Exception) -> bool:
    """For good: a session that has ended takes no calculation."""
    if not isinstance(error, ClientError):
        return False
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) < 429

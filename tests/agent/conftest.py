"""A real driver, and the server's end of its link: a real WebSocket server that takes notes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import pytest
from tests import archives
from tests.proc import command_of
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from sparkowl.agent.messages import (
    UNKNOWN_DRIVER,
    Ack,
    Cancel,
    Command,
    Confinement,
    DriverSpec,
    Ended,
    Message,
    Ready,
    Run,
    Stop,
    Welcome,
    decode,
    encode,
)
from sparkowl.agent.processes import is_zombie, tagged

DEADLINE_S = 60.0
#: A JVM that lives for seconds is better not compiled with care: that is half of its work.
QUICK: Final = "-XX:TieredStopAtLevel=1"

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class ServerSide:
    """What the server does on the link: greet, note, acknowledge."""

    def __init__(self, url_file: Path, driver_id: str, token: str) -> None:
        self.heard: list[Message] = []
        self.acknowledges = True
        #: Every dial is refused: this driver is not known here.
        self.refuses = False
        self.dials = 0
        #: Codes of the close frames that agents sent.
        self.closed: list[int | None] = []
        self._url_file = url_file
        self._path = f"/_sparkowl/drivers/{driver_id}/link"
        self._token = token
        self._changed = threading.Condition()
        self._connection: ServerConnection | None = None
        self._server: Server | None = None
        self.open()

    def open(self) -> None:
        """Listen, on a new port each time, as a server that started again."""
        server = serve(self._talk, "127.0.0.1", 0, process_request=self._check)
        self._server = server
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        self._url_file.write_text(f"ws://127.0.0.1:{port}\n")

    def close(self) -> None:
        """Go away, as a server that was killed: connections break, dials are refused."""
        connection, server = self._connection, self._server
        self._connection = None
        if server is not None:
            server.shutdown()
            self._server = None
        if connection is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _check(self, _connection: ServerConnection, request: Request) -> Response | None:
        self.dials += 1
        expected = self._path, f"Bearer {self._token}"
        if not self.refuses and (request.path, request.headers["Authorization"]) == expected:
            return None
        answer = _connection.respond(403, "no\n")
        answer.headers[UNKNOWN_DRIVER] = "1"
        return answer

    def _talk(self, connection: ServerConnection) -> None:
        connection.send(encode(Welcome()))
        with self._changed:
            self._connection = connection
            self._changed.notify_all()
        try:
            for frame in connection:
                self._hear(connection, decode(frame))
        except ConnectionClosed:
            pass
        with self._changed:
            self.closed.append(connection.close_code)
            self._changed.notify_all()

    def _hear(self, connection: ServerConnection, message: Message) -> None:
        with self._changed:
            self.heard.append(message)
            self._changed.notify_all()
        seq = getattr(message, "seq", None)
        if seq is not None and self.acknowledges:
            connection.send(encode(Ack(seq=seq)))

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def send(self, command: Command) -> None:
        self.send_text(encode(command))

    def send_text(self, frame: str) -> None:
        """On the connection that there is, or the next one."""
        self.wait(lambda: self._connection).send(frame)

    def drop(self) -> None:
        """Break the connection, and go on listening."""
        connection, self._connection = self._connection, None
        assert connection is not None
        connection.socket.shutdown(socket.SHUT_RDWR)

    def wait(self, look: Callable[[], T | None], within_s: float = DEADLINE_S) -> T:
        """The first thing that ``look`` finds, looking again with each message."""
        with self._changed:
            found = self._changed.wait_for(look, within_s)
        assert found is not None, f"not in {within_s} s; heard {self.heard}"
        assert found is not False, f"not in {within_s} s; heard {self.heard}"
        return found

    def first(self, kind: type[M], within_s: float = DEADLINE_S, **values: object) -> M:
        """Wait for a message of this kind with these values."""

        def look() -> M | None:
            for message in self.heard:
                if isinstance(message, kind) and values.items() <= asdict(message).items():
                    return message
            return None

        return self.wait(look, within_s)


@dataclass(frozen=True)
class Calculation:
    """How a block ended, and its three files."""

    ended: Ended
    stdout: str
    stderr: str
    results: list[dict[str, Any]]
    seconds: float

    @property
    def outcome(self) -> str:
        return self.ended.outcome

    @property
    def reason(self) -> str:
        return self.ended.reason

    @property
    def value(self) -> str:
        """Plain text of the last expression."""
        (shown,) = [r for r in self.results if r["output_type"] == "execute_result"]
        text: str = shown["data"]["text/plain"]
        return text


class Driver:
    """An agent that was started, as its launcher and the server see it."""

    def __init__(
        self, base: Path, spec: DriverSpec, environment: dict[str, str], command: Sequence[str]
    ) -> None:
        self.base = base
        self.spec = spec
        self.run_dir = Path(spec.run_dir)
        self.buckets = base / "buckets"
        self.server = ServerSide(self.run_dir / "server-url", spec.driver_id, spec.token)
        with (base / "agent.log").open("wb") as log:
            self.agent = subprocess.Popen(
                [sys.executable, *command, spec.driver_id],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
            )
        assert self.agent.stdin is not None
        self.agent.stdin.write(spec.to_json().encode())
        self.agent.stdin.close()

    def ready(self) -> Ready:
        return self.server.first(Ready)

    def start(
        self, code: str, buckets: dict[str, str] | None = None, calculation_id: str = ""
    ) -> str:
        calculation_id = calculation_id or str(uuid4())
        self.server.send(
            Run(
                calculation_id=calculation_id,
                code=code,
                output_dir=str(self.output_dir(calculation_id)),
                buckets=buckets or {},
            )
        )
        return calculation_id

    def run(self, code: str, buckets: dict[str, str] | None = None) -> Calculation:
        began = time.monotonic()
        return self.end(self.start(code, buckets), began)

    def end(self, calculation_id: str, began: float = 0.0) -> Calculation:
        ended = self.server.first(Ended, calculation_id=calculation_id)
        folder = self.output_dir(calculation_id)
        return Calculation(
            ended=ended,
            stdout=(folder / "stdout").read_bytes().decode(),
            stderr=(folder / "stderr").read_bytes().decode(),
            results=json.loads((folder / "result.json").read_text())["outputs"],
            seconds=time.monotonic() - began,
        )

    def cancel(self, calculation_id: str) -> Calculation:
        began = time.monotonic()
        self.server.send(Cancel(calculation_id=calculation_id))
        return self.end(calculation_id, began)

    def stop(self) -> float:
        """Stop it as the server does; how long it took."""
        began = time.monotonic()
        self.server.send(Stop())
        self.agent.wait(DEADLINE_S)
        return time.monotonic() - began

    def output_dir(self, calculation_id: str) -> Path:
        return self.base / "results" / calculation_id

    def until_stdout(self, calculation_id: str, text: str) -> None:
        """Wait until a running block has said something."""
        file = self.output_dir(calculation_id) / "stdout"
        eventually(lambda: file.exists() and text in file.read_text())

    def processes(self) -> list[int]:
        """Everything of this driver that still runs."""
        return [
            pid
            for pid in tagged(self.spec.driver_id, Path(self.spec.run_dir))
            if not is_zombie(pid)
        ]

    def pid_of(self, what: str) -> int:
        for pid in self.processes():
            if what in command_of(pid):
                return pid
        raise LookupError(what)

    def close(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.agent.wait(DEADLINE_S)
        self.server.close()


def eventually(holds: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Wait for something outside this process, which can only be looked at."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not in {within_s} s"
        time.sleep(0.01)


Start = Callable[..., Driver]


def _environment(driver_id: str) -> dict[str, str]:
    """What a launcher gives: next to nothing."""
    return {
        "SPARKOWL_DRIVER": driver_id,
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": os.environ["HOME"],
    }


def driver_spec(base: Path, **changes: Any) -> DriverSpec:
    """A driver's spec in a folder, with the folders that it names."""
    run_dir, buckets = base / "run", base / "buckets"
    for folder in (run_dir, buckets / "lake", base / "cache", base / "results"):
        folder.mkdir(parents=True)
    (base / "server.key").write_text("the server's secret")
    spec = DriverSpec(
        driver_id=str(uuid4()),
        token="the driver's token",
        run_dir=str(run_dir),
        cache_dir=str(base / "cache"),
        java_home=None,
        heap="1g",
        properties={
            "spark.master": "local[2]",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": (run_dir / "warehouse").as_uri(),
        },
        buckets={"lake": str(buckets / "lake")},
        warm=False,
        output_limit_bytes=100_000,
        away_idle_s=60,
        away_busy_s=60,
        confinement=Confinement(
            hidden=(str(base),), readable=(), writable=(str(run_dir), str(buckets))
        ),
    )
    return replace(spec, **changes)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts drivers; what still runs at the end is killed."""
    started: list[Driver] = []

    def start_one(
        environment: dict[str, str] | None = None,
        command: Sequence[str] = ("-m", "sparkowl.agent"),
        role: dict[str, str] | None = None,
        **changes: Any,
    ) -> Driver:
        """``environment`` is the agent's own, ``role`` what a role adds to the kernel's."""
        changes |= {"environment": role or {}}
        base = tmp_path_factory.mktemp("driver")
        spec = driver_spec(base, **{"cache_dir": str(archives.cache()), **changes})
        quick = {"spark.driver.extraJavaOptions": QUICK, **spec.properties}
        spec = replace(spec, properties=quick)
        driver = Driver(base, spec, _environment(spec.driver_id) | (environment or {}), command)
        started.append(driver)
        return driver

    yield start_one
    for driver in started:
        driver.close()


@pytest.fixture(scope="module")
def driver(start: Start) -> Driver:
    """One driver for all tests of a module that leave it as they found it."""
    one = start()
    one.ready()
    return one

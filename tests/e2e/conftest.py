"""Servers as users have them: a process, real Spark, real clients over a real socket."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config

SPARKOWL: Final = str(Path(sys.executable).with_name("sparkowl"))
ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELED"})
GONE: Final = frozenset({"TERMINATED", "FAILED"})


@dataclass
class Server:
    """A running server and an ordinary user's way to it."""

    data_dir: Path
    settings: dict[str, str]
    port: int = 0
    #: What runs the command.
    program: tuple[str, ...] = (SPARKOWL,)
    #: Variables that it has beside its settings.
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] = field(init=False)
    url: str = ""
    #: By the server's address: what it says about itself does not change while it runs there.
    said: dict[str, dict[str, str]] = field(default_factory=dict)

    def start(self) -> None:
        settings = {f"SPARKOWL_{k}": v for k, v in self.settings.items()}
        environment = os.environ | self.variables | settings
        command = [
            *self.program,
            "serve",
            "--data-dir",
            str(self.data_dir),
            "--port",
            str(self.port),
        ]
        with (self.data_dir.parent / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("SparkOwl is ready at "), self.log()
        self.url = line.split()[-1]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log()
        self.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def log(self) -> str:
        return (self.data_dir.parent / "server.log").read_text()

    def command(
        self, *arguments: str, timeout: float = 110, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``sparkowl`` against this server."""
        return subprocess.run(
            [*self.program, *arguments, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            **more,
        )

    def environment(self) -> dict[str, str]:
        """What ``eval "$(sparkowl env)"`` sets."""
        if self.url not in self.said:
            pairs = (
                shlex.split(line)[1].partition("=")
                for line in self.command("env").stdout.splitlines()
                if line.startswith("export")
            )
            self.said[self.url] = {name: value for name, _, value in pairs}
        return os.environ | self.said[self.url]

    def client(self, service: str) -> Any:
        values = self.environment()
        return boto3.client(
            service,
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name=values["AWS_DEFAULT_REGION"],
            config=Config(retries={"total_max_attempts": 1}),
        )


@dataclass
class User:
    """Somebody with boto3."""

    athena: Any
    s3: Any

    def start_session(self, **members: Any) -> str:
        request = {"WorkGroup": "spark", "EngineConfiguration": {}} | members
        return str(self.athena.start_session(**request)["SessionId"])

    def session(self, **members: Any) -> str:
        """A session that is IDLE."""
        session = self.start_session(**members)
        assert self.await_session(session, {"IDLE"} | GONE)["State"] == "IDLE"
        return session

    def await_session(self, session: str, states: set[str] | frozenset[str]) -> Any:
        return wait_for(
            lambda: self.athena.get_session_status(SessionId=session)["Status"],
            lambda status: status["State"] in states,
        )

    def submit(self, session: str, code: str) -> str:
        started = self.athena.start_calculation_execution(SessionId=session, CodeBlock=code)
        return str(started["CalculationExecutionId"])

    def await_state(self, calculation: str, states: frozenset[str] | set[str]) -> Any:
        name = {"CalculationExecutionId": calculation}
        return wait_for(
            lambda: self.athena.get_calculation_execution(**name),
            lambda found: found["Status"]["State"] in states,
        )

    def run(self, session: str, code: str) -> tuple[Any, str, str]:
        """The ended calculation, its stdout and its stderr."""
        found = self.await_state(self.submit(session, code), ENDED)
        result = found["Result"]
        return found, self.read(result["StdOutS3Uri"]), self.read(result["StdErrorS3Uri"])

    def timeline(self, session: str) -> dict[str, Any]:
        """Of the session's start; the object comes a moment after the session is IDLE."""
        found = self.athena.get_session(SessionId=session)["SessionConfiguration"]
        uri = f"{found['WorkingDirectory']}/start.json"
        told: dict[str, Any] = json.loads(wait_for(lambda: self._read_if_there(uri), bool))
        return told

    def _read_if_there(self, uri: str) -> str:
        try:
            return self.read(uri)
        except self.s3.exceptions.NoSuchKey:
            return ""

    def read(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return str(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())

    def end(self, session: str) -> None:
        self.athena.terminate_session(SessionId=session)
        self.await_session(session, GONE)


def wait_for(look: Callable[[], Any], good: Callable[[Any], bool], within_s: float = 100) -> Any:
    """Look until it is good; the last look when it never is, to be seen in the assertion."""
    deadline = time.monotonic() + within_s
    while not good(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert good(seen), seen
    return seen


def processes_of(data_dir: Path) -> dict[int, str]:
    """Processes that belong to a data directory's drivers: pid and command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                folder = str((entry / "cwd").readlink())
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(data_dir) in folder or str(data_dir).encode() in environment:
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


#: In the command line of a session's Jupyter server.
JUPYTER: Final = "-m sparkowl.agent.jupyter"


def folder_of(data_dir: Path, session: str, user: User) -> Path:
    """The folder of a session's driver; its name is the driver's id."""
    driver = user.athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"]
    return data_dir / "drivers" / str(driver)


def pid_of(data_dir: Path, session: str, user: User, part: str) -> int:
    """The agent, kernel, jvm or Jupyter server (``jupyter``) of a session's driver."""
    folder = folder_of(data_dir, session, user)
    words = {
        "agent": f"-m sparkowl.agent {folder.name}",
        "kernel": "sparkowl.agent.kernel",
        "jupyter": JUPYTER,
    }
    found = processes_of(folder)
    for pid, command in found.items():
        if part == "jvm" and "org.apache.spark.deploy.SparkSubmit" in command:
            return pid
        if part in words and words[part] in command:
            return pid
    raise AssertionError(f"no {part} among {found}")


@contextmanager
def running(
    folder: Path, program: tuple[str, ...] = (SPARKOWL,), **settings: str
) -> Iterator[Server]:
    """A server that is stopped at the end, and that leaves no process behind."""
    with started(Server(folder / "data", settings, program=program)) as server:
        yield server


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """The same for one that is made already."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert processes_of(server.data_dir) == {}, server.log()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    return User(server.client("athena"), server.client("s3"))

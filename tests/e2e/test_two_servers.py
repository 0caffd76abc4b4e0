"""Two servers on one PostgreSQL and one data directory, each killed in turn under load."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
)
from tests import databases
from tests.e2e.conftest import ENDED, GONE, Server, User, processes_of, wait_for

from sparkowl import credentials

#: Two sessions, each with a real Spark, and others that come and go.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]
log = logging.getLogger(__name__)

LEASE_S = 3
COUNTING = "import time\nfor i in range(40):\n    print(i, flush=True)\n    time.sleep(0.5)"
COUNTED = "".join(f"{i}\n" for i in range(40))
#: A session that was promised goes on this soon after its server was killed.
TAKEN_OVER_S = 10.0


@dataclass
class Two:
    """Both servers, and clients that come to either, as behind a load balancer."""

    servers: list[Server]
    folder: Path
    figures: dict[str, float] = field(default_factory=dict)

    def user(self, server: Server) -> User:
        return User(self.client(server, "athena"), self.client(server, "s3"))

    def client(self, server: Server, service: str) -> Any:
        keys = credentials.load(server.data_dir)
        assert keys is not None
        return boto3.client(
            service,
            endpoint_url=server.url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
        )

    def anywhere(self, call: Callable[[Any], Any]) -> Any:
        """Call one server, and the other when it does not answer, as a load balancer does."""
        deadline = time.monotonic() + 60
        while True:
            for server in self.servers:
                try:
                    return call(self.client(server, "athena"))
                except ClientError as error:
                    if error.response["Error"]["Code"] != "TooManyRequestsException":
                        raise
                except BotoCoreError:
                    continue
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    url = databases.server().new_database()
    folder = tmp_path_factory.mktemp("two")
    settings = {
        "STORE__URL": url,
        "STORE__LEASE_S": str(LEASE_S),
        "POOL__SIZE": "0",
        "LIMITS__QUEUE_WHEN_FULL": "true",
        "DRIVER__STARTS_AT_ONCE": "1",
        "DRIVER__HEAP": "512m",
    }
    servers = [Server(folder / "data", settings) for _ in range(2)]
    for server in servers:
        server.start()
    both = Two(servers, folder)
    try:
        yield both
    finally:
        for server in servers:
            server.stop()
    log.warning("take-over: %s", json.dumps(both.figures))
    assert processes_of(folder) == {}, servers[0].log()


class Load:
    """Clients that poll, and one that starts sessions, all the time."""

    def __init__(self, two: Two) -> None:
        self._two = two
        self._ending = threading.Event()
        #: Token to the id that was acknowledged.
        self.acknowledged: dict[str, str] = {}
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work,))
            for work in (self._start, self._poll, self._poll)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(120)

    def _run(self, work: Callable[[], None]) -> None:
        while not self._ending.is_set():
            try:
                work()
            except Exception as error:  # noqa: BLE001  it is what the test asserts
                self.errors.append(repr(error))

    def _start(self) -> None:
        token = str(uuid4())
        session = self._two.anywhere(lambda athena: start(athena, token))
        self.acknowledged[token] = session
        self._ending.wait(1)
        self._two.anywhere(lambda athena: athena.terminate_session(SessionId=session))

    def _poll(self) -> None:
        for session in list(self.acknowledged.values())[-5:]:
            self._two.anywhere(partial(status_of, session))
        self._ending.wait(0.1)


def status_of(session: str, athena: Any) -> Any:
    return athena.get_session_status(SessionId=session)


def start(athena: Any, token: str) -> str:
    answer = athena.start_session(
        WorkGroup="spark", EngineConfiguration={}, ClientRequestToken=token
    )
    return str(answer["SessionId"])


#: Each way, and each server; the servers differ in nothing, so not each with each.
@pytest.mark.parametrize(("how", "victim"), [("kill", 0), ("freeze", 1)])
def test_sessions_of_a_server_that_is_gone_go_on_at_the_other(
    two: Two, victim: int, how: str
) -> None:
    dying, staying = two.servers[victim], two.servers[1 - victim]
    first, other = two.user(dying), two.user(staying)
    token = str(uuid4())
    idle = start(first.athena, token)
    busy = first.session()
    assert first.await_session(idle, {"IDLE"} | GONE)["State"] == "IDLE"
    calculation = first.submit(busy, COUNTING)
    with Load(two) as load:
        time.sleep(5)
        if how == "kill":
            dying.kill()
        else:
            os.kill(dying.process.pid, signal.SIGSTOP)
        gone_at = time.monotonic()

        found, out, _ = other.run(idle, "print('on')")

        taken = time.monotonic() - gone_at
        two.figures[f"{how} {victim}"] = round(taken, 2)
        assert (found["Status"]["State"], out) == ("COMPLETED", "on\n")
        time.sleep(3)
        if how == "kill":
            assert f"{staying.url}" in staying.command("env").stdout
    assert load.errors == []
    assert taken < TAKEN_OVER_S + (LEASE_S if how == "freeze" else 0)
    ended = other.await_state(calculation, ENDED)
    assert ended["Status"]["State"] == "COMPLETED", ended
    assert other.read(ended["Result"]["StdOutS3Uri"]) == COUNTED
    assert start(other.athena, token) == idle
    for sent, session in load.acknowledged.items():
        assert start(other.athena, sent) == session
        other.await_session(session, GONE)

    if how == "kill":
        dying.start()
    else:
        os.kill(dying.process.pid, signal.SIGCONT)
    back = two.user(dying)
    wait_for(lambda: back.run(idle, "print('again')")[1], lambda out: out == "again\n")
    for session in (idle, busy):
        back.end(session)
    wait_for(lambda: drivers_left(two), lambda left: left == [])


def drivers_left(two: Two) -> list[str]:
    folder = two.servers[0].data_dir / "drivers"
    return [path.name for path in folder.iterdir()] if folder.exists() else []

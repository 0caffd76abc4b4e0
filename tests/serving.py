"""A whole server in a thread, with make-believe drivers, for tests that come over the network."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from tests.keys import Statement, make_key
from tests.wire.answers import require_model

from sparkowl import app
from sparkowl.access.register import NewKey
from sparkowl.config import AUDIT_FILE, Settings
from sparkowl.credentials import Credentials
from sparkowl.launchers.fake import FakeLauncher
from sparkowl.store.engine import Place

T = TypeVar("T")
#: How long anything may take before a test gives up.
PATIENT_S = 20.0
UNLIMITED = {"per_s": 0, "burst": 1}


@dataclass(frozen=True)
class Server:
    """A server that accepts calls."""

    running: app.Running
    loop: asyncio.AbstractEventLoop
    data_dir: Path
    place: Place
    _stop: asyncio.Event

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def launcher(self) -> FakeLauncher:
        assert isinstance(self.running.launcher, FakeLauncher)
        return self.running.launcher

    def client(self, service: str = "athena", **changes: Any) -> Any:
        """A boto3 client of the server; by default it does not retry and does not validate.

        Every answer that it gets is compared with Athena's model.
        """
        keys = self.running.credentials
        made = self._client(service, keys, changes)
        if service == "athena":
            made.meta.events.register("before-parse.athena", _compare_with_model)
        return made

    def _client(self, service: str, keys: Credentials, changes: dict[str, Any]) -> Any:
        options = {"retries": {"total_max_attempts": 1}, "parameter_validation": False}
        return boto3.client(
            service,
            endpoint_url=changes.pop("url", self.url),
            region_name=changes.pop("region_name", "us-east-1"),
            aws_access_key_id=changes.pop("key_id", keys.access_key_id),
            aws_secret_access_key=changes.pop("secret", keys.secret_access_key),
            config=Config(**(options | changes)),
        )

    def principal(self, name: str, *statements: Statement) -> NewKey:
        """A key of a principal who may do what the statements say."""
        return make_key(self.data_dir, name, *statements, place=self.place)

    def client_of(self, key: NewKey, service: str = "athena", **changes: Any) -> Any:
        """A client of whoever has that key."""
        return self.client(service, key_id=key.id, secret=key.secret, **changes)

    def audited(self) -> list[dict[str, Any]]:
        """The audit log."""
        lines = (self.data_dir / AUDIT_FILE).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        """Tell it to stop; at the end of the block it has."""
        self.loop.call_soon_threadsafe(self._stop.set)

    def do(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in the server's event loop."""

        async def run() -> Any:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENT_S)


def _compare_with_model(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    require_model(operation_model.name, response_dict["status_code"], response_dict["body"])


@contextmanager
def serving(data_dir: Path, **settings: Any) -> Iterator[Server]:
    """Run a server for the block."""
    made: dict[str, Any] = {
        "data_dir": data_dir,
        "cache_dir": data_dir / "cache",
        "port": 0,
        "launcher": "fake",
        "pool": {"size": 0},
        # Tests call as fast as they can; those of the limits set their own.
        "rates": {"reads": UNLIMITED, "writes": UNLIMITED},
    }
    chosen = Settings(**(made | settings))
    ready: Future[Server] = Future()
    stop = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def answers(running: app.Running) -> None:
            ready.set_result(Server(running, loop, data_dir, chosen.database, stop))

        await app.serve(chosen, stop, answers)

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  it is handed to the test
            if not ready.done():
                ready.set_exception(error)
            else:
                failed.append(error)

    failed: list[BaseException] = []
    worker = threading.Thread(target=thread, name="server")
    worker.start()
    try:
        server = ready.result(PATIENT_S)
        try:
            yield server
        finally:
            server.stop()
    finally:
        worker.join(PATIENT_S)
    assert not failed, failed
    assert server.launcher.alive == 0 or chosen.keep_sessions


def until(true: Callable[[], T | None]) -> T:
    """The first answer of ``true`` that is true."""
    deadline = monotonic() + PATIENT_S
    while monotonic() < deadline:
        if answer := true():
            return answer
        sleep(0.005)
    raise AssertionError("it did not become true")

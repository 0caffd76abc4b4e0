"""A real server on a port of its own, and real clients for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as Signing
from tests.keys import Statement, make_key, opened

from sparkowl import credentials
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.clock import Manual
from sparkowl.config import AUDIT_FILE, DATABASE_FILE
from sparkowl.credentials import Credentials
from sparkowl.objects.files import Files
from sparkowl.s3.door import S3Door

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Botocore's signer, for a payload field that we choose."""

    def __init__(self, signing: Signing, chosen: str) -> None:
        super().__init__(signing, "s3", "us-east-1")
        self._chosen = chosen

    def payload(self, request: AWSRequest) -> str:
        return self._chosen


@dataclass(frozen=True)
class Reply:
    """What came back over a plain connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """S3's code of an error."""
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


@dataclass
class Served:
    """A running server: its files, its clock, and ways to reach it."""

    files: Files
    clock: Manual
    port: int
    region: str
    #: Its database, keys and audit log.
    folder: Path
    key: str = KEY
    secret: str = SECRET
    #: Bodies of requests may be generators, so that none is in memory.
    timeout_s: float = field(default=60)

    def principal(self, name: str, *statements: Statement, **config: Any) -> Any:
        """A client of a principal who may do what the statements say."""
        made = make_key(self.folder, name, *statements)
        return self.client(key=made.id, secret=made.secret, **config)

    def audited(self) -> list[dict[str, Any]]:
        """The audit log."""
        return [json.loads(line) for line in (self.folder / AUDIT_FILE).read_text().splitlines()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(
        self, *, key: str = KEY, secret: str = SECRET, url: str | None = None, **config: Any
    ) -> Any:
        """A boto3 client without retries, so that a test sees the first answer."""
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name=self.region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def signed(
        self, method: str, path: str, headers: Mapping[str, str], payload: str
    ) -> dict[str, str]:
        """The headers of a request, signed."""
        request = AWSRequest(method, self.url + path, headers=dict(headers))
        _Signer(Signing(self.key, self.secret), payload).add_auth(request)
        return dict(request.headers.items())

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        payload: str = "UNSIGNED-PAYLOAD",
        signed: bool = True,
    ) -> Reply:
        """A request as we want it, to the byte of its path."""
        sent = dict(headers or {})
        if signed:
            sent = self.signed(method, path, sent, payload)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent, encode_chunked="Transfer-Encoding" in sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())


Start = Callable[..., contextlib.AbstractContextManager[Served]]


@contextlib.contextmanager
def _serving(folder: Path, region: str = "us-east-1") -> Iterator[Served]:
    # Apart from the database and the keys, so that tests can see what the door itself leaves.
    objects = folder / "objects"
    objects.mkdir(parents=True)
    files = Files(objects / "buckets", objects / "staging")
    clock = Manual(datetime.now(UTC))
    first = Credentials(KEY, SECRET, "the server's own secret")
    credentials.replace_file(folder, first)
    listening = socket.create_server(("127.0.0.1", 0))
    started: Future[uvicorn.Server] = Future()

    def run() -> None:
        # The store belongs to the thread that opens it.
        with opened(folder / DATABASE_FILE) as store:
            audit = Audit(folder / AUDIT_FILE)
            door = S3Door(files, Keyring(store, folder, first, clock), audit, clock, region)
            config = uvicorn.Config(door, lifespan="off", log_level="warning", access_log=False)
            server = uvicorn.Server(config)
            started.set_result(server)
            server.run(sockets=[listening])
            door.close()
            audit.close()

    thread = threading.Thread(target=run)
    thread.start()
    server = started.result(30)
    try:
        yield Served(files, clock, listening.getsockname()[1], region, folder)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def serving() -> Start:
    """For tests that need a server of their own."""
    return _serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with _serving(tmp_path_factory.mktemp("s3")) as one:
        yield one


@pytest.fixture
def bucket(served: Served, request: pytest.FixtureRequest) -> str:
    """An empty bucket of the test's own."""
    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**12}"
    served.files.create_bucket(name)
    return name

"""Whole servers with hostile clients: an honest one is answered, and afterwards all is back.

What each bound does is in tests/http; here it is that together they keep the server free.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.serving import Server, serving, until

#: Far above what an answer takes, far below what any of the hostile clients is given.
QUICK_S = 5.0
#: Times that no test waits for: a hostile client that is held up is held up for good.
LONG = {"head_s": 600, "stall_s": 600, "pace_s": 600, "keep_alive_s": 600}
#: More than the S3 door has threads, more than the event loop's own pool has.
MANY = 40


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that cuts nobody off: who holds something there, holds it."""
    with serving(tmp_path_factory.mktemp("patient"), http=LONG | {"connections": 300}) as server:
        server.client("s3").create_bucket(Bucket="lake")
        server.client("s3").put_object(Bucket="lake", Key="large", Body=bytes(32 << 20))
        yield server


def files_of_this_process() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def address(server: Server) -> tuple[str, int]:
    place = urlsplit(server.url)
    assert place.hostname is not None
    assert place.port is not None
    return place.hostname, place.port


class Unsigned(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Botocore's signer, for a body that it does not see."""

    def payload(self, request: AWSRequest) -> str:
        del request
        return "UNSIGNED-PAYLOAD"


def s3_head(server: Server, method: str, key: str, *more: str) -> bytes:
    request = AWSRequest(method, f"{server.url}/lake/{key}", headers={})
    keys = server.running.credentials
    signer = Credentials(keys.access_key_id, keys.secret_access_key)
    Unsigned(signer, "s3", "us-east-1").add_auth(request)
    lines = [f"{method} /lake/{key} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def nothing(server: Server, number: int) -> bytes:
    return b""


def half_a_head(server: Server, number: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Tar"


def half_a_call(server: Server, number: int) -> bytes:
    request = AWSRequest("POST", server.url + "/", data=b"", headers={})
    keys = server.running.credentials
    signer = Credentials(keys.access_key_id, keys.secret_access_key)
    Unsigned(signer, "athena", "us-east-1").add_auth(request)
    lines = ["POST / HTTP/1.1", f"Host: {urlsplit(server.url).netloc}"]
    lines += ["X-Amz-Target: AmazonAthena.ListWorkGroups", "Content-Length: 100000"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", "x" * 50_000]).encode()


def half_an_object(server: Server, number: int) -> bytes:
    return s3_head(server, "PUT", f"slow-{number}", "Content-Length: 5000000") + bytes(1_100_000)


def an_object_that_is_not_read(server: Server, number: int) -> bytes:
    return s3_head(server, "GET", "large")


def handshake_without_a_token(server: Server, number: int) -> bytes:
    return (
        b"GET /_sparkowl/drivers/%032x/link HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" % number
    )


@contextmanager
def attacked(server: Server, what: Callable[[Server, int], bytes], times: int) -> Iterator[None]:
    """Connections that said so much, and neither read nor say any more."""
    with ExitStack() as stack:
        for number in range(times):
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(QUICK_S)
            client.connect(address(server))
            client.sendall(what(server, number))
        yield


@pytest.mark.parametrize(
    "what",
    [
        nothing,
        half_a_head,
        half_a_call,
        half_an_object,
        an_object_that_is_not_read,
        handshake_without_a_token,
    ],
)
def test_an_honest_client_is_answered_meanwhile_and_nothing_is_left_behind(
    patient: Server, what: Callable[[Server, int], bytes]
) -> None:
    athena, s3 = patient.client(), patient.client("s3")
    session = athena.start_session(WorkGroup="spark", EngineConfiguration={})["SessionId"]
    s3.put_object(Bucket="lake", Key="honest", Body=b"x")
    before = files_of_this_process()

    with attacked(patient, what, MANY):
        began = time.monotonic()
        athena.get_session_status(SessionId=session)
        s3.put_object(Bucket="lake", Key="honest", Body=b"y")
        assert s3.get_object(Bucket="lake", Key="honest")["Body"].read() == b"y"
        assert time.monotonic() - began < QUICK_S

    until(lambda: files_of_this_process() <= before)
    athena.terminate_session(SessionId=session)


def test_more_idle_connections_than_there_may_be_keep_nobody_out(patient: Server) -> None:
    before = files_of_this_process()

    with attacked(patient, nothing, 700):
        athena = patient.client()
        began = time.monotonic()
        athena.list_work_groups()
        assert time.monotonic() - began < QUICK_S
        # Each has two ends in this process.
        assert files_of_this_process() < before + 700 + 300 + 20

    until(lambda: files_of_this_process() <= before + 2)


def test_bodies_that_are_too_many_at_once_are_throttled(tmp_path: Path) -> None:
    http: dict[str, Any] = LONG | {"bodies_bytes": 100_000}
    limits = {"request_body_bytes": 100_000}
    with (
        serving(tmp_path, http=http, limits=limits) as server,
        attacked(server, half_a_call, 1),
    ):
        athena = server.client()

        def refused() -> bool:
            try:
                athena.create_work_group(Name="a", Description="d" * 60_000)
            except athena.exceptions.ClientError as error:
                return bool(error.response["Error"]["Code"] == "ThrottlingException")
            return False

        until(refused)
        assert athena.list_work_groups()["WorkGroups"]


def test_a_call_that_the_stop_cuts_short_is_in_the_audit_log(tmp_path: Path) -> None:
    with serving(tmp_path, http=LONG) as server:
        client = socket.create_connection(address(server))
        client.sendall(half_a_call(server, 0))
        tasks = server.do(_until_called)
        assert tasks
    # After an error its client would call again; and the call may have taken effect.
    assert client.recv(100) == b""
    client.close()

    [line] = [line for line in server.audited() if line["operation"] == "ListWorkGroups"]
    assert line["error"] == "ServerStopped"


def test_a_client_that_leaves_in_the_middle_of_its_body_did_not_sign_wrongly(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, http=LONG) as server:
        with closing(socket.create_connection(address(server))) as client:
            client.sendall(half_a_call(server, 0))
            assert server.do(_until_called)

        [line] = until(server.audited)
        assert (line["operation"], line["error"]) == ("ListWorkGroups", "ClientGone")
        assert "status" not in line


async def _until_called() -> bool:
    """Whether a request is being worked on."""
    while not any("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks()):
        await asyncio.sleep(0.005)
    return True


def test_a_client_that_talks_nonsense_does_not_fill_the_log(
    patient: Server, caplog: pytest.LogCaptureFixture
) -> None:
    handshake = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for nonsense in (b"\x16\x03\x01\r\n\r\n", handshake):
        for _ in range(10):
            with closing(socket.create_connection(address(patient), timeout=QUICK_S)) as client:
                client.sendall(nonsense)
                assert client.recv(100).startswith(b"HTTP/1.1 4")

    # One of each kind.
    assert 1 <= sum(one.name == "uvicorn.error" for one in caplog.records) <= 2


def test_a_large_request_needs_no_upload_to_be_refused(patient: Server) -> None:
    connection = http.client.HTTPConnection(*address(patient), timeout=QUICK_S)
    with closing(connection):
        connection.putrequest("POST", "/")
        for name, value in (
            ("X-Amz-Target", "AmazonAthena.ListWorkGroups"),
            ("Content-Length", "1000000"),
            ("Expect", "100-continue"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()

        assert answer.status == 403
        assert b"MissingAuthenticationToken" in answer.read()


def test_no_thread_is_there_for_those_who_are_slow(patient: Server) -> None:
    before = threading.active_count()

    with attacked(patient, half_an_object, MANY):
        patient.client().list_work_groups()
        # The S3 door has eight, whatever happens.
        assert threading.active_count() <= before + 8

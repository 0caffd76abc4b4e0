"""How long a small block takes, and how many calls the server answers."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from jupyter_client.manager import start_new_kernel

from benchmarks.servers import Server, sparkowl
from benchmarks.starts import Pair, run, start

BLOCKS: Final = 50
CONNECTIONS: Final = 4
SECONDS: Final = 3.0


def one_plus_one(rounds: int) -> Pair:
    """Median milliseconds of ``1+1``: a calculation through boto3, and a bare kernel."""
    ours: list[float] = []
    theirs: list[float] = []
    manager, kernel = start_new_kernel()
    try:
        with sparkowl() as server:
            server.await_warm()
            athena = server.client()
            session = start(athena)
            run(athena, session, "1+1")
            # The pool refills itself after the start; that must be over before anything is timed.
            server.await_warm()
            for number in range(rounds):
                ours.append(_median_ms(lambda: run(athena, session, "1+1", poll_s=0.001)))
                theirs.append(_median_ms(lambda: _execute(kernel)))
                print(f"1+1 {number + 1}/{rounds}: {ours[-1]:.1f} ms, {theirs[-1]:.1f} ms")
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    return ours, theirs


def _median_ms(work: Any) -> float:
    took = []
    for _ in range(BLOCKS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


def _execute(kernel: Any) -> None:
    """The reply, and all output up to the kernel being idle again."""
    sent = kernel.execute("1+1")
    kernel.get_shell_msg(timeout=10)
    while True:
        message = kernel.get_iopub_msg(timeout=10)
        ours = message["parent_header"].get("msg_id") == sent
        if ours and message["content"].get("execution_state") == "idle":
            return


def get_session_status(rounds: int) -> Pair:
    """Calls per second over four connections: GetSessionStatus, and moto's GetWorkGroup."""
    ours: list[float] = []
    theirs: list[float] = []
    with sparkowl(launcher="fake") as server, _moto() as moto:
        session = start(server.client())
        status = signed_request(server, "GetSessionStatus", f'{{"SessionId":"{session}"}}')
        work_group = _unsigned(moto, "GetWorkGroup", '{"WorkGroup":"primary"}')
        for number in range(rounds):
            ours.append(_calls_per_s(server.url, status))
            theirs.append(_calls_per_s(moto, work_group))
            print(f"calls {number + 1}/{rounds}: {ours[-1]:.0f}/s, {theirs[-1]:.0f}/s", flush=True)
    return ours, theirs


def signed_request(server: Server, operation: str, body: str) -> bytes:
    """A signed request as bytes. It may be sent again until its signature is too old."""
    keys = server.environment
    request = AWSRequest("POST", server.url + "/", headers=_headers(operation), data=body)
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "athena", keys["AWS_DEFAULT_REGION"]).add_auth(request)
    return _bytes(server.url, dict(request.headers.items()), body)


def _unsigned(url: str, operation: str, body: str) -> bytes:
    scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/athena/aws4_request"
    claim = {"Authorization": f"{scope}, SignedHeaders=host, Signature=0"}
    return _bytes(url, _headers(operation) | claim, body)


def _headers(operation: str) -> dict[str, str]:
    return {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonAthena.{operation}",
    }


def _bytes(url: str, headers: dict[str, str], body: str) -> bytes:
    lines = [f"POST / HTTP/1.1\r\nHost: {urlsplit(url).netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def _calls_per_s(url: str, request: bytes) -> float:
    counts: list[int] = []
    began = time.perf_counter()
    threads = [
        threading.Thread(target=lambda: counts.append(hammer(url, request, began + SECONDS)))
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == CONNECTIONS, "a connection failed"
    return sum(counts) / (time.perf_counter() - began)


def hammer(url: str, request: bytes, until: float) -> int:
    """One connection, one call after the other; opened again where the server closes it."""
    place = urlsplit(url)
    assert place.hostname is not None
    address = (place.hostname, place.port)
    count = 0
    connection = socket.create_connection(address)
    while time.perf_counter() < until:
        connection.sendall(request)
        keep = _read_answer(connection)
        count += 1
        if not keep:
            connection.close()
            connection = socket.create_connection(address)
    connection.close()
    return count


def _read_answer(connection: socket.socket) -> bool:
    """Read one answer, which must be a 200; False when the server closes the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        assert chunk, "the server closed in the middle of an answer"
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], head
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    assert length is not None, head
    while len(body) < int(length.group(1)):
        body += connection.recv(65536)
    return b"connection: close" not in head.lower() and head.startswith(b"HTTP/1.1")


@contextmanager
def _moto() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()

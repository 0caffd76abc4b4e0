"""A large object passes through the server without being in its memory."""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SIZE = 200 << 20
BLOCK = bytes(range(256)) * 4096
#: A few blocks of 1 MiB, and what the allocator keeps; far below the object.
ALLOWED_KIB = 40 << 10

SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.clock import System
from sparkowl.credentials import Credentials, replace_file
from sparkowl.objects.files import Files
from sparkowl.s3.door import S3Door
from sparkowl.store import Store

folder = Path(sys.argv[2])
files = Files(folder / "buckets", folder / "staging")
files.create_bucket("lake")
first = Credentials("AKID", "secret", "server")
replace_file(folder, first)
keyring = Keyring(Store.open(folder / "rows.db"), folder, first, System())
door = S3Door(files, keyring, Audit(None), System(), "us-east-1")
config = uvicorn.Config(door, lifespan="off", log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


class Unsigned(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Botocore's signer, for a body that it does not see."""

    def payload(self, request: AWSRequest) -> str:
        del request
        return "UNSIGNED-PAYLOAD"


def signed(method: str, url: str) -> dict[str, str]:
    request = AWSRequest(method, url, headers={})
    Unsigned(Credentials("AKID", "secret"), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def blocks() -> Iterator[bytes]:
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_two_hundred_megabytes_leave_no_trace_in_memory(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(listening.fileno()), str(tmp_path)],
        pass_fds=[listening.fileno()],
    )
    listening.close()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            assert put(connection, port, "small", iter([BLOCK]), len(BLOCK)) == 200
            before = peak_kib(server.pid)
            assert put(connection, port, "large", blocks(), SIZE) == 200
            assert get(connection, port, "large") == SIZE
            grown = peak_kib(server.pid) - before
    finally:
        server.terminate()
        server.wait()
    expected = hashlib.md5(usedforsecurity=False)
    for block in blocks():
        expected.update(block)
    found = hashlib.md5((tmp_path / "buckets/lake/large").read_bytes(), usedforsecurity=False)
    assert found.digest() == expected.digest()
    assert grown < ALLOWED_KIB


def put(
    connection: http.client.HTTPConnection, port: int, key: str, body: Iterator[bytes], size: int
) -> int:
    headers = signed("PUT", f"http://127.0.0.1:{port}/lake/{key}")
    connection.request("PUT", f"/lake/{key}", body, {**headers, "Content-Length": str(size)})
    response = connection.getresponse()
    response.read()
    return response.status


def get(connection: http.client.HTTPConnection, port: int, key: str) -> int:
    connection.request(
        "GET", f"/lake/{key}", headers=signed("GET", f"http://127.0.0.1:{port}/lake/{key}")
    )
    response = connection.getresponse()
    size = 0
    while block := response.read(1 << 20):
        size += len(block)
    return size

"""A large object passes through the server without being in its memory."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from tests.s3.apart import Apart, apart

SIZE = 200 << 20
BLOCK = bytes(range(256)) * 4096
#: A few blocks of 1 MiB, and what the allocator keeps; far below the object.
ALLOWED_KIB = 40 << 10


def blocks() -> Iterator[bytes]:
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_two_hundred_megabytes_leave_no_trace_in_memory(tmp_path: Path) -> None:
    with apart(tmp_path) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with closing(connection):
            assert put(connection, server, "small", iter([BLOCK]), len(BLOCK)) == 200
            before = peak_kib(server.pid)
            assert put(connection, server, "large", blocks(), SIZE) == 200
            assert get(connection, server, "large") == SIZE
            grown = peak_kib(server.pid) - before
    expected = hashlib.md5(usedforsecurity=False)
    for block in blocks():
        expected.update(block)
    found = hashlib.md5(
        (tmp_path / "objects/buckets/lake/large").read_bytes(), usedforsecurity=False
    )
    assert found.digest() == expected.digest()
    assert grown < ALLOWED_KIB


def put(
    connection: http.client.HTTPConnection,
    server: Apart,
    key: str,
    body: Iterator[bytes],
    size: int,
) -> int:
    headers = {**server.signed("PUT", f"/lake/{key}"), "Content-Length": str(size)}
    connection.request("PUT", f"/lake/{key}", body, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def get(connection: http.client.HTTPConnection, server: Apart, key: str) -> int:
    connection.request("GET", f"/lake/{key}", headers=server.signed("GET", f"/lake/{key}"))
    response = connection.getresponse()
    size = 0
    while block := response.read(1 << 20):
        size += len(block)
    return size


KEYS = 100_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_wide_folder_is_paged_at_flat_memory(tmp_path: Path) -> None:
    """A page costs the names of the folder once, and the next one gets the same room."""
    with apart(tmp_path) as server:
        s3 = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
        )
        s3.list_objects_v2(Bucket="lake")
        folder = server.objects / "buckets/lake/many"
        folder.mkdir()
        for number in range(KEYS):
            (folder / f"part-{number:06}").touch()
        before = peak_kib(server.pid)
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket="lake", Prefix="many/", PaginationConfig={"MaxItems": 5_000}
        )
        found = [one["Key"] for page in pages for one in page["Contents"]]
        grown = peak_kib(server.pid) - before
    assert found == [f"many/part-{number:06}" for number in range(5_000)]
    assert grown < ALLOWED_KIB

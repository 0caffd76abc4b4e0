"""What the door does before and around an operation."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl import credentials
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.clock import System
from sparkowl.s3 import xml
from sparkowl.s3.conditions import range_of
from sparkowl.s3.door import S3Door
from sparkowl.s3.errors import S3Error
from sparkowl.store import Store

if TYPE_CHECKING:
    from tests.s3.conftest import Served


def talk(served: Served, path: str, headers: dict[str, str], *sent: bytes) -> list[bytes]:
    """Send a head, and then each part when something has come back; what came back."""
    lines = [f"PUT {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        replies = [connection.recv(65536)]
        for part in sent:
            connection.sendall(part)
            replies.append(connection.recv(65536))
    return replies


def expecting(served: Served, path: str, **headers: str) -> dict[str, str]:
    signed = served.signed("PUT", path, headers, "UNSIGNED-PAYLOAD")
    return {**signed, "Content-Length": "5", "Expect": "100-continue"}


def test_a_body_is_asked_for_when_it_is_wanted(served: Served, bucket: str) -> None:
    path = f"/{bucket}/a"
    first, second = talk(served, path, expecting(served, path), b"hello")
    assert first.startswith(b"HTTP/1.1 100 ")
    assert second.startswith(b"HTTP/1.1 200 ")
    assert served.files.read_bytes(bucket, "a") == b"hello"


def test_a_body_is_not_asked_for_in_vain(served: Served, bucket: str) -> None:
    served.files.put_bytes(bucket, "a", b"there")
    refused = {
        b"404": expecting(served, "/missing/a"),
        b"412": expecting(served, f"/{bucket}/a", **{"If-None-Match": "*"}),
        b"403": {**expecting(served, f"/{bucket}/b"), "x-amz-acl": "private"},
    }
    paths = {b"404": "/missing/a", b"412": f"/{bucket}/a", b"403": f"/{bucket}/b"}
    for status, headers in refused.items():
        (reply,) = talk(served, paths[status], headers)
        assert reply.startswith(b"HTTP/1.1 " + status)
        # Else the next request on this connection would be taken for the body.
        assert b"connection: close" in reply


def head(served: Served, method: str, path: str, headers: dict[str, str]) -> bytes:
    signed = served.signed(method, path, {}, "UNSIGNED-PAYLOAD") | headers
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}"]
    lines += [f"{name}: {value}" for name, value in signed.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("sent", [b"half", bytes(3 << 20)])
@pytest.mark.parametrize("part", [False, True])
def test_a_client_that_leaves_early_leaves_nothing(
    served: Served, bucket: str, sent: bytes, part: bool
) -> None:
    served.files.put_bytes(bucket, "a", b"old")
    path = f"/{bucket}/a"
    if part:
        upload = served.client().create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
        path += f"?partNumber=1&uploadId={upload}"
    before = set(served.files.staging.iterdir())
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        size = {"Content-Length": str(5 << 20)}
        connection.sendall(head(served, "PUT", path, size) + sent)
        eventually(lambda: set(served.files.staging.iterdir()) != before, "the body is coming")
    eventually(lambda: set(served.files.staging.iterdir()) == before, "the draft is gone")
    assert served.files.read_bytes(bucket, "a") == b"old"
    if part:
        where = {"Bucket": bucket, "Key": "a", "UploadId": upload}
        assert "Parts" not in served.client().list_parts(**where)
        served.client().abort_multipart_upload(**where)


def test_a_client_that_leaves_while_it_reads_leaves_no_file_open(
    served: Served, bucket: str
) -> None:
    served.files.put_bytes(bucket, "a", bytes(64 << 20))
    file = served.files.path(bucket, "a")
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(head(served, "GET", f"/{bucket}/a", {}))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: is_open(file), "the object is being read")
    eventually(lambda: not is_open(file), "the object is closed")
    assert served.send("GET", f"/{bucket}/a", headers={"Range": "bytes=0-1"}).status == 206


def is_open(path: Path) -> bool:
    """Whether this process, and so the server in it, has the file open."""
    found = path.stat()
    for open_file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(open_file.stat(), found):
                return True
    return False


def eventually(holds: Callable[[], bool], what: str) -> None:
    due = monotonic() + 30
    while not holds():
        assert monotonic() < due, what
        sleep(0.005)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("PATCH", "/bucket/key", 405),
        ("PUT", "/", 405),
        ("POST", "/bucket/key", 405),
        ("GET", "/bucket?acl", 501),
        ("GET", "/bucket/key?attributes", 501),
    ],
)
def test_what_is_no_operation_is_refused(
    served: Served, method: str, path: str, status: int
) -> None:
    reply = served.send(method, path)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/xml"
    assert reply.headers["x-amz-request-id"]


def test_the_door_speaks_http_only(served: Served, tmp_path: Path) -> None:
    first = credentials.load_or_create(tmp_path)
    store = Store.open(tmp_path / "rows.db")
    keyring = Keyring(store, tmp_path, first, System())
    door = S3Door(served.files, keyring, Audit(None), System(), "us-east-1")

    async def nothing() -> dict[str, object]:
        return {}

    async def nowhere(message: object) -> None:
        del message

    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(door({"type": "websocket"}, nothing, nowhere))
    door.close()
    store.close()


# --- XML --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<Delete>",
        b"<Other/>",
        b'<?xml version="1.0"?><!DOCTYPE Delete [<!ENTITY a "b">]><Delete>&a;</Delete>',
        b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>',
        b'<?xml version="1.0" encoding="nonsense"?><Delete/>',
        b"<Delete/>" * 2,
    ],
)
def test_bad_documents_are_malformed(served: Served, bucket: str, body: bytes) -> None:
    reply = served.send("POST", f"/{bucket}?delete", body)
    assert (reply.status, reply.code) == (400, "MalformedXML")


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_a_document_may_have_a_name_space_and_indentation(
    served: Served, bucket: str, namespace: str
) -> None:
    served.files.put_bytes(bucket, " a&b ", b"x")
    body = f"<Delete{namespace}>\n <Object>\n  <Key> a&amp;b </Key>\n </Object>\n</Delete>"
    reply = served.send("POST", f"/{bucket}?delete", body.encode())
    assert b"<Key> a&#38;b </Key>" in reply.body
    assert not served.files.exists(bucket, " a&b ")


def test_too_large_a_document_is_refused(served: Served, bucket: str) -> None:
    reply = served.send("POST", f"/{bucket}?delete", b" " * (5 << 20))
    assert (reply.status, reply.code) == (400, "EntityTooLarge")


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_text_comes_back_from_a_document(text: str) -> None:
    text = text.replace("\ufffe", "").replace("\uffff", "")  # no XML 1.0 can hold these
    document = xml.document("A", [("B", text), ("C", None), ("D", True), ("E", 5)])
    tree = ET.fromstring(document)
    assert (tree.findtext("B"), tree.find("C")) == (text, None)
    assert (tree.findtext("D"), tree.findtext("E")) == ("true", "5")


# --- ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-", (3, 7)),
        ("bytes=-4", (6, 4)),
        ("bytes=-99", (0, 10)),
        ("bytes=9-99", (9, 1)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges_are_those_of_the_rfc(header: str | None, expected: tuple[int, int] | None) -> None:
    assert range_of(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_of_nothing_cannot_be_satisfied(header: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        range_of(header, size)
    assert caught.value.status == 416

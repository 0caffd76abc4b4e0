"""The aws-chunked framing: however it is cut, and signed as a client signs it."""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.protocol import sigv4
from sparkowl.protocol.sigv4 import Signature, SignatureMismatch, SignedRequest
from sparkowl.s3.chunked import Chunked
from sparkowl.s3.crc import crc32c, crc64nvme
from sparkowl.s3.errors import S3Error

if TYPE_CHECKING:
    from tests.s3.conftest import Reply, Served

UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
PIECES = [b"hello, ", b"x" * 70_000, b"owl"]
DATA = b"".join(PIECES)


def plain(pieces: list[bytes], *trailers: str) -> bytes:
    framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces]]
    tail = "".join(f"{trailer}\r\n" for trailer in trailers)
    return b"".join([*framed, b"0\r\n", tail.encode(), b"\r\n"])


def decoded(body: bytes, cuts: list[int], signature: Signature | None = None) -> bytes:
    found = bytearray()
    decoder = Chunked(found.extend, signature)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        decoder.feed(body[start:end])
    decoder.finish()
    return bytes(found)


pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@given(pieces=pieces, cuts=st.lists(st.integers(0, 300), max_size=6))
def test_it_may_be_cut_anywhere(pieces: list[bytes], cuts: list[int]) -> None:
    assert decoded(plain(pieces, "a:b"), cuts) == b"".join(pieces)


@given(pieces=pieces, cut=st.integers(1, 300))
def test_what_is_cut_off_is_noticed(pieces: list[bytes], cut: int) -> None:
    body = plain(pieces)
    kept = body[: max(len(body) - 2 - cut, 0)]  # the last empty line may be missing
    with pytest.raises(S3Error) as caught:
        decoded(kept, [])
    assert caught.value.code == "IncompleteBody"


@given(body=st.binary(max_size=60))
def test_anything_else_is_refused_in_words(body: bytes) -> None:
    with suppress(S3Error):  # and nothing else
        decoded(body, [])


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello world\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5" * 2000,
        b"0\r\n\r\nmore",
        b"\r\n",
        b"",
    ],
)
def test_bad_framing_is_refused(body: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        decoded(body, [])
    assert caught.value.code == "IncompleteBody"


def test_upper_case_sizes_and_a_missing_last_line_are_taken() -> None:
    body = plain([b"x" * 0xAB]).replace(b"ab\r\n", b"AB\r\n").removesuffix(b"\r\n")
    assert decoded(body, []) == b"x" * 0xAB


# --- over the wire ----------------------------------------------------------------------------


def crc32(data: bytes) -> str:
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def castagnoli(data: bytes) -> str:
    crc = crc32c()
    crc.update(data)
    return b64encode(crc.digest()).decode()


def nvme(data: bytes) -> str:
    crc = crc64nvme()
    crc.update(data)
    return b64encode(crc.digest()).decode()


def put(served: Served, bucket: str, body: bytes, trailer: str, **headers: str) -> Reply:
    sent = {"content-encoding": "aws-chunked", "x-amz-trailer": trailer, **headers}
    return served.send("PUT", f"/{bucket}/a", body, sent, payload=UNSIGNED)


@pytest.mark.parametrize(
    ("name", "checksum"), [("crc32", crc32), ("crc32c", castagnoli), ("crc64nvme", nvme)]
)
def test_a_trailer_is_verified(
    served: Served, bucket: str, name: str, checksum: Callable[[bytes], str]
) -> None:
    header = f"x-amz-checksum-{name}"
    reply = put(served, bucket, plain(PIECES, f"{header}:{checksum(DATA)}"), header)
    assert (reply.status, reply.headers[header]) == (200, checksum(DATA))
    assert served.files.read_bytes(bucket, "a") == DATA
    assert "content-encoding" not in served.files.entry(bucket, "a").about.headers

    reply = put(served, bucket, plain(PIECES, f"{header}:{checksum(b'other')}"), header)
    assert (reply.status, reply.code) == (400, "BadDigest")
    reply = put(served, bucket, plain(PIECES), header)
    assert (reply.status, reply.code) == (400, "MalformedTrailerError")
    reply = put(served, bucket, plain(PIECES, f"{header}:???"), header)
    assert (reply.status, reply.code) == (400, "InvalidRequest")


def test_the_decoded_size_must_be_what_was_said(served: Served, bucket: str) -> None:
    header = "x-amz-checksum-crc32"
    body = plain(PIECES, f"{header}:{crc32(DATA)}")
    size = {"x-amz-decoded-content-length": str(len(DATA))}
    assert put(served, bucket, body, header, **size).status == 200
    size = {"x-amz-decoded-content-length": str(len(DATA) + 1)}
    assert put(served, bucket, body, header, **size).code == "IncompleteBody"


@pytest.mark.parametrize(
    ("headers", "payload", "code"),
    [
        ({"content-md5": b64encode(bytes(16)).decode()}, "UNSIGNED-PAYLOAD", "BadDigest"),
        ({"content-md5": "short"}, "UNSIGNED-PAYLOAD", "InvalidDigest"),
        ({"x-amz-checksum-crc32": "?!"}, "UNSIGNED-PAYLOAD", "InvalidRequest"),
        ({"x-amz-checksum-md4": "AAAA"}, "UNSIGNED-PAYLOAD", "NotImplemented"),
        ({}, hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
        ({}, "SOMETHING-ELSE", "InvalidArgument"),
        ({"content-length": "6000000000"}, "UNSIGNED-PAYLOAD", "EntityTooLarge"),
    ],
)
def test_a_body_that_is_not_what_was_promised_leaves_nothing(
    served: Served, bucket: str, headers: dict[str, str], payload: str, code: str
) -> None:
    reply = served.send("PUT", f"/{bucket}/a", b"hello", headers, payload=payload)
    assert reply.code == code
    assert not served.files.exists(bucket, "a")
    assert list(served.files.staging.iterdir()) == []


class SigningClient:
    """Signs chunks as S3's API reference has it, from its text alone."""

    def __init__(self, served: Served, path: str, payload: str, headers: dict[str, str]) -> None:
        self.headers = served.signed("PUT", path, headers, payload)
        claim = self.headers["Authorization"]
        found = re.search(r"Credential=[^/]+/([^,]+), .*Signature=(\w+)", claim)
        assert found is not None
        self.scope, self.previous = found.groups()
        self.timestamp = self.headers["X-Amz-Date"]
        key = b"AWS4" + served.secret.encode()
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        self.key = key

    def sign(self, kind: str, *hashes: str) -> str:
        lines = [f"AWS4-HMAC-SHA256-{kind}", self.timestamp, self.scope, self.previous, *hashes]
        self.previous = hmac.new(self.key, "\n".join(lines).encode(), "sha256").hexdigest()
        return self.previous

    def chunk(self, data: bytes) -> bytes:
        empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
        signature = self.sign("PAYLOAD", empty, digest)
        head = f"{len(data):x};chunk-signature={signature}\r\n".encode()
        return head + data + (b"\r\n" if data else b"")

    def trailer(self, name: str, value: str) -> bytes:
        digest = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
        signature = self.sign("TRAILER", digest)
        return f"{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n".encode()


def test_signed_chunks_are_verified(served: Served, bucket: str) -> None:
    path = f"/{bucket}/a"
    size = {"x-amz-decoded-content-length": str(len(DATA)), "content-encoding": "aws-chunked,gzip"}
    client = SigningClient(served, path, SIGNED, size)
    body = b"".join(client.chunk(piece) for piece in [*PIECES, b""]) + b"\r\n"
    reply = served.send("PUT", path, body, client.headers, signed=False)
    assert reply.status == 200
    assert served.files.read_bytes(bucket, "a") == DATA
    assert served.files.entry(bucket, "a").about.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("change", [b"hello", b"chunk-signature=", b"swap", b"unsigned"])
def test_a_changed_chunk_is_noticed(served: Served, bucket: str, change: bytes) -> None:
    path = f"/{bucket}/a"
    client = SigningClient(served, path, SIGNED, {})
    chunks = [client.chunk(piece) for piece in [b"hello", b"world", b""]]
    match change:
        case b"hello":
            chunks[0] = chunks[0].replace(b"hello", b"jello")
        case b"chunk-signature=":
            chunks[1] = re.sub(rb"signature=\w{4}", b"signature=0000", chunks[1])
        case b"swap":
            chunks[0], chunks[1] = chunks[1], chunks[0]
        case _:
            chunks[0] = b"5\r\nhello\r\n"
    reply = served.send("PUT", path, b"".join(chunks) + b"\r\n", client.headers, signed=False)
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")
    assert not served.files.exists(bucket, "a")


def test_a_signed_trailer_is_verified(served: Served, bucket: str) -> None:
    path, header = f"/{bucket}/a", "x-amz-checksum-crc32"
    for value, code in ((crc32(DATA), ""), (crc32(b"other"), "BadDigest")):
        client = SigningClient(served, path, f"{SIGNED}-TRAILER", {"x-amz-trailer": header})
        body = b"".join(client.chunk(piece) for piece in [*PIECES, b""])
        body += client.trailer(header, value) + b"\r\n"
        assert served.send("PUT", path, body, client.headers, signed=False).code == code
    changed = body.replace(crc32(b"other").encode(), crc32(DATA).encode())
    reply = served.send("PUT", path, changed, client.headers, signed=False)
    assert reply.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("before", "further"), [(b"x" * 9, 0), (b"owl", 0), (b"\r\n0", 2)])
def test_a_truncated_upload_leaves_what_was_there(
    served: Served, bucket: str, signed: bool, before: bytes, further: int
) -> None:
    """Within a chunk, at its beginning, and just behind the last: only the framing can tell."""
    served.files.put_bytes(bucket, "a", b"old")
    path = f"/{bucket}/a"
    client = SigningClient(served, path, SIGNED if signed else UNSIGNED, {})
    chunks = b"".join(client.chunk(piece) for piece in [*PIECES, b""]) + b"\r\n"
    body = chunks if signed else plain(PIECES)
    body = body[: body.rindex(before) + further]
    reply = served.send("PUT", path, body, client.headers, signed=False)
    assert (reply.status, reply.code) == (400, "IncompleteBody")
    assert served.files.read_bytes(bucket, "a") == b"old"
    assert list(served.files.staging.iterdir()) == []


class Published:
    """The worked examples of AWS's two pages, "Transferring Payload in Multiple Chunks" and
    "... (Chunked Upload) with trailing headers": 65 KiB of "a", in chunks of 64 KiB and 1 KiB."""

    DATA = b"a" * (65 << 10)
    SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

    @classmethod
    def proven(cls, payload: str, signature: str, **headers: str) -> Signature:
        """The head of the request, verified."""
        sent = {
            "content-encoding": "aws-chunked",
            "host": "s3.amazonaws.com",
            "x-amz-content-sha256": payload,
            "x-amz-date": "20130524T000000Z",
            "x-amz-decoded-content-length": "66560",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        claim = (
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            f"SignedHeaders={';'.join(sorted(sent))},Signature={signature}"
        )
        return sigv4.verify(
            SignedRequest(
                "PUT",
                "/examplebucket/chunkObject.txt",
                "",
                [*sent.items(), ("authorization", claim)],
            ),
            secret_of=lambda _: cls.SECRET,
            now=datetime(2013, 5, 24, tzinfo=UTC),
            service="s3",
        )

    @classmethod
    def body(cls, *signatures: str, tail: str = "") -> bytes:
        pieces = zip((cls.DATA[: 64 << 10], cls.DATA[64 << 10 :], b""), signatures, strict=True)
        framed = [
            f"{len(piece):x};chunk-signature={signature}\r\n".encode()
            + piece
            + (b"\r\n" if piece else b"")
            for piece, signature in pieces
        ]
        return b"".join(framed) + tail.encode() + b"\r\n"


def test_the_worked_example_of_the_documentation_holds() -> None:
    signature = Published.proven(
        SIGNED,
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        content_length="66824",
    )
    body = Published.body(
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    )
    assert len(body) == 66824
    assert decoded(body, [7, 70_000], signature) == Published.DATA
    with pytest.raises(SignatureMismatch):
        decoded(body.replace(b"aaa\r\n", b"aab\r\n"), [], signature)


def test_the_worked_example_with_a_trailer_holds() -> None:
    signature = Published.proven(
        f"{SIGNED}-TRAILER",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        x_amz_trailer="x-amz-checksum-crc32c",
    )
    body = Published.body(
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        tail="x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
    )
    found = bytearray()
    decoder = Chunked(found.extend, signature)
    decoder.feed(body)
    assert decoder.finish() == {"x-amz-checksum-crc32c": castagnoli(bytes(found))}
    assert found == Published.DATA
    with pytest.raises(SignatureMismatch):
        decoded(body.replace(b"sOO8/Q", b"sOO8/A"), [], signature)

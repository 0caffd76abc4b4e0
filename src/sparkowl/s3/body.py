"""Bodies: decoded, bounded and verified while they stream, never in memory whole.

A body may come plain or in ``aws-chunked`` framing (inside HTTP's own, which the server has taken
off), with a hash in a header, in the signature of each chunk, or in a trailer. Whatever its sender
promised is held against what arrived, and only then may the caller make an object of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol

from sparkowl.objects.drafts import BLOCK_BYTES
from sparkowl.protocol.sigv4 import UNSIGNED_PAYLOAD
from sparkowl.s3.calls import Call, Context, Receive
from sparkowl.s3.chunked import Chunked
from sparkowl.s3.crc import crc32c, crc64nvme
from sparkowl.s3.errors import ClientGone, S3Error, invalid, not_implemented

#: S3's limit for one request.
MAX_OBJECT_BYTES: Final = 5 << 30

_STREAMING: Final = {
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": False,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": True,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": True,
}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CHECKSUM: Final = "x-amz-checksum-"
#: Headers of that prefix that hold no checksum.
_ABOUT_CHECKSUMS: Final = frozenset(("algorithm", "mode", "type"))


class Digest(Protocol):
    """What :mod:`hashlib` and :mod:`.crc` have in common."""

    def update(self, block: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Sink(Protocol):
    """Where decoded blocks go."""

    def write(self, block: bytes) -> None: ...
    @property
    def md5(self) -> bytes: ...


class Memory:
    """A sink for a body that is small by contract."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, block: bytes) -> None:
        self.data += block

    @property
    def md5(self) -> bytes:
        return hashlib.md5(self.data, usedforsecurity=False).digest()


class _Crc32:
    """zlib's, which is fast, with the interface of the others."""

    def __init__(self) -> None:
        self._state = 0

    def update(self, block: bytes, /) -> None:
        self._state = zlib.crc32(block, self._state)

    def digest(self) -> bytes:
        return self._state.to_bytes(4, "big")


_ALGORITHMS: Final[Mapping[str, Callable[[], Digest]]] = {
    "crc32": _Crc32,
    "crc32c": crc32c,
    "crc64nvme": crc64nvme,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


class Intake:
    """One body on its way into a sink. It computes and writes, so threads call it."""

    def __init__(self, call: Call, sink: Sink, limit_bytes: int) -> None:
        headers, payload = call.headers, call.signature.payload
        self._sink = sink
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._payload = payload
        self._md5 = _md5(headers)
        self._given = _given(headers)
        self._trailing = _trailing(headers)
        self._digests = {name: _ALGORITHMS[name]() for name in {*self._given, *self._trailing}}
        self._sha256 = hashlib.sha256() if _SHA256.fullmatch(payload) else None
        self._chunked: Chunked | None = None
        if payload in _STREAMING:
            signature = call.signature if _STREAMING[payload] else None
            self._chunked = Chunked(self._take, signature)
        elif self._sha256 is None and payload != UNSIGNED_PAYLOAD:
            raise invalid(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of "
                f"{', '.join(_STREAMING)}, or a valid sha256 value."
            )
        self._declared = _declared_size(headers, chunked=self._chunked is not None)
        self._refuse_above_limit(self._declared or 0)

    def feed(self, raw: bytes) -> None:
        """Take in the next bytes as they came."""
        if self._chunked is None:
            self._take(raw)
        else:
            self._chunked.feed(raw)

    def finish(self) -> dict[str, str]:
        """The checksums by algorithm, once the body has proved to be what was promised."""
        trailers = self._chunked.finish() if self._chunked else {}
        if self._declared not in (None, self._size_bytes):
            raise invalid(
                "You did not provide the number of bytes specified by the Content-Length or "
                "x-amz-decoded-content-length header.",
                "IncompleteBody",
            )
        self._check_sha256()
        if self._md5 is not None and self._md5 != self._sink.md5:
            raise _bad_digest("Content-MD5")
        return {name: self._check(name, trailers) for name in sorted(self._digests)}

    def _take(self, block: bytes) -> None:
        self._size_bytes += len(block)
        self._refuse_above_limit(self._size_bytes)
        if self._sha256 is not None:
            self._sha256.update(block)
        for digest in self._digests.values():
            digest.update(block)
        self._sink.write(block)

    def _refuse_above_limit(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            raise invalid(
                f"Your proposed upload exceeds the maximum allowed size, {self._limit_bytes} bytes",
                "EntityTooLarge",
            )

    def _check_sha256(self) -> None:
        if self._sha256 is not None and self._sha256.hexdigest() != self._payload:
            raise invalid(
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                "XAmzContentSHA256Mismatch",
            )

    def _check(self, name: str, trailers: Mapping[str, str]) -> str:
        computed = self._digests[name].digest()
        expected = self._given.get(name)
        if expected is None:
            header = _CHECKSUM + name
            if header not in trailers:
                raise invalid(f"The trailer {header} is missing.", "MalformedTrailerError")
            expected = _decoded(header, trailers[header], len(computed))
        if expected != computed:
            raise _bad_digest(name.upper())
        return base64.b64encode(computed).decode()


async def take_in(ctx: Context, call: Call, sink: Sink, limit_bytes: int) -> dict[str, str]:
    """Let the body of a call flow into a sink; the checksums that were verified on the way."""
    intake = Intake(call, sink, limit_bytes)
    async for block in _blocks(call.receive):
        await ctx.run(intake.feed, block)
    return await ctx.run(intake.finish)


async def _blocks(receive: Receive) -> AsyncIterator[bytes]:
    """The body in blocks that are worth a thread; the server's own are 64 KiB at most."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        more = message.get("more_body", False)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size >= BLOCK_BYTES or not more:
            yield b"".join(parts)
            parts, size = [], 0


def _given(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The checksums in headers, by algorithm."""
    found: dict[str, bytes] = {}
    for header, value in headers.items():
        name = header.removeprefix(_CHECKSUM)
        if name != header and name not in _ABOUT_CHECKSUMS:
            size = len(_new(name).digest())
            found[name] = _decoded(header, value, size)
    return found


def _trailing(headers: Mapping[str, str]) -> list[str]:
    """The algorithms whose checksums are announced to follow the body."""
    names = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")]
    found = [name.removeprefix(_CHECKSUM) for name in names if name.startswith(_CHECKSUM)]
    for name in found:
        _new(name)
    return found


def _new(name: str) -> Digest:
    if name not in _ALGORITHMS:
        raise not_implemented(f"The checksum algorithm {name[:40]!r}")
    return _ALGORITHMS[name]()


def _decoded(header: str, value: str, size: int, code: str = "InvalidRequest") -> bytes:
    try:
        decoded = base64.b64decode(value, validate=True)
    except ValueError:  # not base 64, or not even ASCII
        decoded = b""
    if len(decoded) != size:
        raise invalid(f"Value for {header} header is invalid.", code)
    return decoded


def _md5(headers: Mapping[str, str]) -> bytes | None:
    value = headers.get("content-md5")
    return None if value is None else _decoded("Content-MD5", value, 16, "InvalidDigest")


def _declared_size(headers: Mapping[str, str], *, chunked: bool) -> int | None:
    # A chunked stream of unknown size has neither header; boto3 sends such over https.
    value = headers.get("x-amz-decoded-content-length" if chunked else "content-length")
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise invalid("The size of the body is not a number.")
    return int(value)


def _bad_digest(name: str) -> S3Error:
    return invalid(f"The {name} you specified did not match what we received.", "BadDigest")

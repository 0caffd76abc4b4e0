"""The ``aws-chunked`` framing: sizes in hexadecimal, perhaps signatures, perhaps trailers.

::

    5[;chunk-signature=…]\\r\\n
    hello\\r\\n
    0[;chunk-signature=…]\\r\\n
    [x-amz-checksum-crc32:NhCmhg==\\r\\n]
    [x-amz-trailer-signature:…\\r\\n]
    \\r\\n

Each signature covers the one before it, so that no chunk can be left out or moved: S3's API
reference, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks". Bytes may arrive cut anywhere, also inside a size.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from sparkowl.protocol import sigv4
from sparkowl.protocol.sigv4 import Signature
from sparkowl.s3.errors import S3Error, invalid

_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?[ \t]*")
#: Of a size line or a trailer; a signature needs 98 bytes.
_MAX_LINE_BYTES: Final = 1024
_MAX_TRAILERS: Final = 10
_MALFORMED: Final = "MalformedTrailerError"
_TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"


class _At(Enum):
    """What comes next."""

    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()
    TRAILER = auto()
    NOTHING = auto()


class Chunked:
    """A decoder that is fed. With a signature, every chunk must carry one that continues it."""

    def __init__(self, sink: Callable[[bytes], None], signature: Signature | None) -> None:
        self._sink = sink
        self._signature = signature
        self._previous = signature.signature if signature else ""
        self._claimed = ""
        self._hash = hashlib.sha256()
        self._at = _At.SIZE
        self._left = 0
        self._pending = b""
        self._offset = 0
        self._trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Decode what has arrived so far."""
        self._pending = self._pending[self._offset :] + data
        self._offset = 0
        while self._step():
            pass

    def finish(self) -> dict[str, str]:
        """The trailers, once all has arrived."""
        # Some clients leave out the last empty line.
        complete = self._at is _At.NOTHING or (
            self._at is _At.TRAILER and self._offset == len(self._pending)
        )
        if not complete:
            raise _incomplete("it ends within a chunk")
        if self._signature and self._trailers:
            self._check_trailers(self._signature)
        return self._trailers

    def _step(self) -> bool:
        """Take one piece; False when more must arrive first."""
        match self._at:
            case _At.SIZE:
                return self._take_size()
            case _At.DATA:
                return self._take_data()
            case _At.END_OF_DATA:
                return self._take_end_of_data()
            case _At.TRAILER:
                return self._take_trailer()
            case _At.NOTHING:
                if self._offset < len(self._pending):
                    raise _incomplete("something follows its end")
                return False

    def _take_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _incomplete("a chunk does not begin with its size")
        self._left = int(match[1], 16)
        self._claimed = (match[2] or b"").decode()
        self._hash = hashlib.sha256()
        if self._left:
            self._at = _At.DATA
        else:
            self._check_chunk()
            self._at = _At.TRAILER
        return True

    def _take_data(self) -> bool:
        piece = self._pending[self._offset : self._offset + self._left]
        if not piece:
            return False
        self._offset += len(piece)
        self._left -= len(piece)
        if self._signature:
            self._hash.update(piece)
        self._sink(piece)
        if not self._left:
            self._check_chunk()
            self._at = _At.END_OF_DATA
        return True

    def _take_end_of_data(self) -> bool:
        if len(self._pending) - self._offset < 2:
            return False
        if self._pending[self._offset : self._offset + 2] != b"\r\n":
            raise _incomplete("a chunk is longer than its size")
        self._offset += 2
        self._at = _At.SIZE
        return True

    def _take_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        # AWS's own example ends a trailer with "\n\r\n".
        name, colon, value = line.decode("latin-1").strip().partition(":")
        if not name:
            self._at = _At.NOTHING
        elif not colon or len(self._trailers) == _MAX_TRAILERS:
            raise invalid("The request contained trailing data that is no trailer.", _MALFORMED)
        else:
            self._trailers[name.strip().lower()] = value.strip()
        return True

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\r\n", self._offset, self._offset + _MAX_LINE_BYTES)
        if end < 0:
            if len(self._pending) - self._offset >= _MAX_LINE_BYTES:
                raise _incomplete("a line is too long")
            return None
        line = self._pending[self._offset : end]
        self._offset = end + 2
        return line

    def _check_chunk(self) -> None:
        if self._signature:
            expected = sigv4.chunk_signature(
                self._signature, self._previous, self._hash.hexdigest()
            )
            _compare(expected, self._claimed)
            self._previous = expected

    def _check_trailers(self, signature: Signature) -> None:
        claimed = self._trailers.pop(_TRAILER_SIGNATURE, "")
        signed = "".join(f"{name}:{value}\n" for name, value in self._trailers.items())
        expected = sigv4.trailer_signature(signature, self._previous, signed.encode("latin-1"))
        _compare(expected, claimed)


def _compare(expected: str, claimed: str) -> None:
    if not hmac.compare_digest(expected.encode(), claimed.encode("latin-1")):
        raise sigv4.SignatureMismatch(
            "The signature we calculated for a chunk of the body does not match the one you "
            "provided. Check your key and signing method."
        )


def _incomplete(why: str) -> S3Error:
    return invalid(f"The aws-chunked body cannot be read: {why}.", "IncompleteBody")

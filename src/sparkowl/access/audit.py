"""The audit log: one line per call, whoever made it and however it ended.

A line is one JSON object in ASCII, so nothing that a caller sends can end it or begin another. It
is written with one system call to a file that is only ever appended to. When the file was moved
away, as logrotate does, a new one is begun within a second. When it cannot be written, calls go on:
the server's log says so once, and once more when it can be written again.

The line of a call that changed something or was refused is in the file before the caller has its
answer. Clients poll, so lines of reads that went well are written together, at the end of the turn
of the event loop in which they were answered: a server that is killed in that fraction of a
millisecond loses these. Neither is flushed to the disk: losing power may cost the last seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sparkowl.access import hiding
from sparkowl.access.hiding import cut

log = logging.getLogger(__name__)

MAX_USER_AGENT: Final = 256
MAX_NAME: Final = 128
_MAX_ADDRESS: Final = 64
_MAX_RESOURCE: Final = 1_200

#: What a call's line says as its error when the server's stop cut it short.
CANCELLED: Final = "ServerStopped"
#: The same when its client left before all of the body had come.
CLIENT_GONE: Final = "ClientGone"
#: How long a file that was moved away may still be written to.
_LOOK_AFTER: Final = timedelta(seconds=1)
#: Lines that wait are written at once when they are this many bytes.
_WAITING_BYTES: Final = 64 * 1024

_FLAGS: Final = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | os.O_CLOEXEC
    | os.O_NOFOLLOW
    # A FIFO that nobody reads must not hang the server.
    | os.O_NONBLOCK
)
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode
#: How AWS forms the id of a key. What does not look so may be a secret in the wrong place.
_KEY_ID: Final = re.compile(r"[A-Z0-9_]{1,128}")


@dataclass(slots=True, kw_only=True)
class Record:
    """What is known of one call; the doors fill it in as they learn it."""

    at: datetime
    request_id: str
    #: ``athena`` or ``s3``.
    service: str
    source: str | None
    user_agent: str | None
    #: The key that the request names, whether or not it proved to have it.
    access_key_id: str | None = None
    #: Only once the signature was right.
    principal: str | None = None
    operation: str | None = None
    #: An ARN.
    resource: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    error: str | None = None
    #: Ids of what the call made.
    made: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        key = self.access_key_id
        if key is not None and not _KEY_ID.fullmatch(key):
            key = "NOT_A_KEY_ID"
        said = {
            "at": self.at.isoformat(timespec="microseconds"),
            "request_id": self.request_id,
            "principal": self.principal,
            "access_key_id": key,
            "source": _cut(self.source, _MAX_ADDRESS),
            "user_agent": _cut(self.user_agent, MAX_USER_AGENT),
            "service": self.service,
            "operation": _cut(self.operation, MAX_NAME),
            "resource": _cut(self.resource, _MAX_RESOURCE),
            "parameters": hiding.shown(self.parameters) if self.parameters else None,
            "status": self.status,
            "error": self.error,
            "made": dict(self.made) or None,
        }
        known = {name: value for name, value in said.items() if value is not None}
        return _ENCODE(known).encode() + b"\n"


class Audit:
    """The file. Without a path nothing is written."""

    def __init__(self, path: Path | None, *, behind_proxy: bool = False) -> None:
        self._path = path
        self._behind_proxy = behind_proxy
        self._fd: int | None = None
        self._file: tuple[int, int] | None = None
        self._failing = False
        #: The last line was written in part: the disk became full in its middle.
        self._torn = False
        self._looked_at: datetime | None = None
        #: Lines of reads in this turn of the event loop.
        self._waiting = bytearray()

    def open(self) -> None:
        """Open the file now rather than at the first call; OSError where that is not possible."""
        if self._path is not None:
            self._opened(self._path)

    def begin(
        self,
        service: str,
        request_id: str,
        client: tuple[str, int] | None,
        headers: Mapping[str, str],
        at: datetime,
    ) -> Record:
        """The record of a call that has just come; ``headers`` have names in lower case."""
        return Record(
            at=at,
            request_id=request_id,
            service=service,
            source=self._source(client, headers.get("x-forwarded-for")),
            user_agent=headers.get("user-agent"),
        )

    def _source(self, client: tuple[str, int] | None, forwarded: str | None) -> str | None:
        """The peer's address, or what the proxy in front says it was.

        A proxy appends the address that it saw; what stands before it is the client's own word.
        """
        if self._behind_proxy and forwarded:
            return forwarded.rpartition(",")[2].strip()
        return client[0] if client else None

    def write(self, record: Record) -> None:
        """Append a record now. Never raises for what is wrong with the file."""
        if self._path is not None:
            self._waiting += record.line()
            self._flush(self._path, record.at)

    def note(self, record: Record) -> None:
        """Append a record at the end of this turn of the event loop."""
        if self._path is None:
            return
        first = not self._waiting
        self._waiting += record.line()
        if len(self._waiting) > _WAITING_BYTES:
            self._flush(self._path, record.at)
        elif first:
            asyncio.get_running_loop().call_soon(self._flush, self._path, record.at)

    def close(self) -> None:
        if self._path is not None and self._looked_at is not None:
            self._flush(self._path, self._looked_at)
        self._shut()

    def _shut(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush(self, path: Path, at: datetime) -> None:
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, bytearray()
        try:
            self._append(path, b"\n" + lines if self._torn else lines, at)
        except OSError as error:
            if not self._failing:
                self._failing = True
                log.error(  # noqa: TRY400  a line, not a traceback
                    "the audit log cannot be written", extra={"why": str(error)}
                )
            return
        if self._failing:
            self._failing = False
            log.warning("the audit log can be written again; calls in between are not in it")

    def _append(self, path: Path, lines: bytes | bytearray, at: datetime) -> None:
        fd = self._fd
        # A clock that was set back is a reason to look, too.
        if (
            fd is None
            or self._looked_at is None
            or not timedelta(0) <= at - self._looked_at < _LOOK_AFTER
        ):
            fd = self._opened(path)
            self._looked_at = at
        written = os.write(fd, lines)
        if written < len(lines):
            # Whether a line was cut, or only some are missing.
            self._torn = written > 0 and lines[written - 1 : written] != b"\n"
            raise OSError(f"{written} of {len(lines)} bytes were written")
        self._torn = False

    def _opened(self, path: Path) -> int:
        """The descriptor of the file that has this path now."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            found = None
        if self._fd is not None and found and (found.st_dev, found.st_ino) == self._file:
            return self._fd
        self._shut()
        self._fd = os.open(path, _FLAGS, 0o600)
        opened = os.fstat(self._fd)
        self._file = (opened.st_dev, opened.st_ino)
        return self._fd


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else cut(text, length)

"""The audit log: one line per call, whoever made it and however it ended.

A line is one JSON object in ASCII, so nothing that a caller sends can end it or begin another. It
is written with one system call to a file that is only ever appended to. When the file was moved
away, as logrotate does, the next line begins a new one. When it cannot be written, calls go on: the
server's log says so once, and once more when it can be written again.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sparkowl.access import hiding
from sparkowl.access.hiding import cut

log = logging.getLogger(__name__)

MAX_USER_AGENT: Final = 256
MAX_NAME: Final = 128
_MAX_ADDRESS: Final = 64
_MAX_RESOURCE: Final = 1_200

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
        """Append a record. Never raises for what is wrong with the file."""
        if self._path is None:
            return
        line = record.line()
        try:
            self._append(self._path, b"\n" + line if self._torn else line)
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

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, path: Path, line: bytes) -> None:
        fd = self._opened(path)
        written = os.write(fd, line)
        self._torn = 0 < written < len(line)
        if written < len(line):
            raise OSError(f"{written} of {len(line)} bytes were written")

    def _opened(self, path: Path) -> int:
        """The descriptor of the file that has this path now."""
        try:
            found = os.lstat(path)  # at every call: pathlib's own takes twice the time
        except FileNotFoundError:
            found = None
        if self._fd is not None and found and (found.st_dev, found.st_ino) == self._file:
            return self._fd
        self.close()
        self._fd = os.open(path, _FLAGS, 0o600)
        opened = os.fstat(self._fd)
        self._file = (opened.st_dev, opened.st_ino)
        return self._fd


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else cut(text, length)

"""What a client makes its request depend on: ETags, dates, and ranges of bytes.

Pure. The order of the checks is that of RFC 9110, section 13.2.2; S3's user guide, "Conditional
requests", says the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from sparkowl.objects.attributes import Entry
from sparkowl.objects.files import ANYWAY, Condition
from sparkowl.s3.errors import S3Error, not_implemented

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class NotModified(Exception):
    """The client has the object already."""


def check_read(headers: Mapping[str, str], entry: Entry, prefix: str = "") -> None:
    """Refuse to read; ``prefix`` is ``x-amz-copy-source-`` for the source of a copy."""
    match = headers.get(f"{prefix}if-match")
    since = _date(headers.get(f"{prefix}if-unmodified-since"))
    if match is not None:
        if not _names(match, entry.etag):
            raise failed("If-Match")
    elif since is not None and entry.modified_at > since:
        raise failed("If-Unmodified-Since")

    none_match = headers.get(f"{prefix}if-none-match")
    since = _date(headers.get(f"{prefix}if-modified-since"))
    if none_match is not None:
        unmodified = _names(none_match, entry.etag)
    else:
        unmodified = since is not None and entry.modified_at <= since
    if unmodified:
        raise NotModified


def of_write(headers: Mapping[str, str]) -> Condition:
    """What the key must be for a new object to take its place."""
    none_match, match = headers.get("if-none-match"), headers.get("if-match")
    if none_match is not None:
        if none_match != "*":  # S3 knows no other either
            raise not_implemented("If-None-Match with anything but * on a write")
        return Condition(if_absent=True)
    return ANYWAY if match is None else Condition(if_match=match.strip().strip('"'))


def range_of(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Offset and length; None for the whole. What is no single range is ignored, as in RFC 9110."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
        satisfiable = int(last) > 0 and size_bytes > 0
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
        satisfiable = start < size_bytes
    if not satisfiable:
        raise S3Error(
            "InvalidRange",
            416,
            "The requested range is not satisfiable",
            **{"content-range": f"bytes */{size_bytes}"},
        )
    return start, end - start


def failed(name: str) -> S3Error:
    """A 412 that says which of the conditions it was."""
    return S3Error(
        "PreconditionFailed",
        412,
        f"At least one of the pre-conditions you specified did not hold: {name}",
    )


def _names(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags


def _date(header: str | None) -> datetime | None:
    """None also for a date that cannot be read: RFC 9110 has such a header ignored."""
    if header is None:
        return None
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except (ValueError, OverflowError):
        return None

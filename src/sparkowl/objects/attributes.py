"""What is known of an object beyond its bytes: ETag, content type, metadata.

It lies in one extended attribute of the file. Spark, which writes the same files, knows nothing of
it: overwriting a file in place keeps the attribute. So the attribute carries the size and the
modification time that it was written for, and counts only while both still hold. A file without a
valid one has an ETag made from inode, size and time: cheap, so that listings never read a file,
stable, because clients send ``If-Match`` between two ranges, and with a dash, by which clients know
that it is no MD5.

Where the file system has no extended attributes, every file is such a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sparkowl.objects.errors import MetadataTooLarge

#: Of the extended attribute.
NAME: Final = "user.sparkowl.object"
#: S3's limit for user metadata.
MAX_METADATA_BYTES: Final = 2048
#: One ext4 block holds all attributes of a file; 3,000 bytes were found to fit.
_MAX_BYTES: Final = 3000
_UNSUPPORTED: Final = frozenset((errno.ENOTSUP, errno.ENOSYS, errno.EPERM))
#: macOS's Python has no such functions; everything then works as without the attribute.
_SUPPORTED: Final = hasattr(os, "setxattr")

_ETAG: Final = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: The year 9999, the last that ``datetime`` can hold.
_LAST_MTIME_NS: Final = 253_402_300_799_000_000_000

EMPTY_ETAG: Final = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the writer of an object said about it. Header names are in lower case."""

    #: content-type, content-encoding, cache-control and their like, given back on every read.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: User metadata, without the ``x-amz-meta-`` of the wire.
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: Checksums over the whole object by algorithm (``crc32``), in base 64.
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object, without its bytes."""

    key: str
    size_bytes: int
    modified_at: datetime
    #: Without the quotes of the wire.
    etag: str
    about: About


def stamp(fd: int, about: About, etag: str) -> None:
    """Attach to an open file, whose bytes are complete, what is known of it."""
    found = os.fstat(fd)
    _write(fd, about, etag, found.st_size, found.st_mtime_ns)


def stamp_folder(fd: int, about: About) -> None:
    """Make a folder count as an object (a marker). Its time changes with its children: own it."""
    _write(fd, about, EMPTY_ETAG, 0, os.fstat(fd).st_mtime_ns)


def unstamp_folder(fd: int) -> None:
    """Make a folder count as a folder only."""
    if not _SUPPORTED:
        return
    try:
        os.removexattr(fd, NAME)
    except OSError as error:
        if error.errno not in _UNSUPPORTED and error.errno != errno.ENODATA:
            raise


def entry(fd: int, key: str) -> Entry:
    """What is known of an open file."""
    found = os.fstat(fd)
    said = _read(fd)
    modified_at = _time(found.st_mtime_ns)
    if said and said.get("size") == found.st_size and said.get("mtime") == found.st_mtime_ns:
        return _entry(key, said, found.st_size, modified_at)
    return _entry(key, {"etag": _cheap_etag(found)}, found.st_size, modified_at)


def is_stamped(fd: int) -> bool:
    """Whether an open folder was made a marker."""
    return bool(_read(fd))


def folder_entry(fd: int, key: str) -> Entry | None:
    """The marker that an open folder is; None where it is just a folder.

    Without extended attributes nothing can tell the two apart; then an empty folder is a marker.
    """
    said = _read(fd)
    if said:
        return _entry(key, said, 0, _time(said["mtime"]))
    if said is None and not os.listdir(fd):
        modified_at = _time(os.fstat(fd).st_mtime_ns)
        return _entry(key, {"etag": EMPTY_ETAG}, 0, modified_at)
    return None


def _entry(key: str, said: Mapping[str, Any], size: int, modified_at: datetime) -> Entry:
    return Entry(
        key=key,
        size_bytes=size,
        modified_at=modified_at,
        etag=str(said["etag"]),
        about=About(
            headers=_texts(said.get("headers")),
            metadata=_texts(said.get("metadata")),
            checksums=_texts(said.get("checksums")),
        ),
    )


def _texts(value: object) -> dict[str, str]:
    """What may go into an answer's headers as it is; anything else was planted, and is dropped."""
    if not isinstance(value, dict):
        return {}
    return {
        name: text
        for name, text in value.items()
        if isinstance(text, str) and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(text)
    }


def _time(mtime_ns: int) -> datetime:
    """To the second, as S3 and HTTP have it, so that If-Modified-Since can be answered."""
    return datetime.fromtimestamp(min(max(mtime_ns, 0), _LAST_MTIME_NS) // 1_000_000_000, UTC)


def _cheap_etag(found: os.stat_result) -> str:
    text = f"{found.st_ino}/{found.st_size}/{found.st_mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest() + "-0"


def _write(fd: int, about: About, etag: str, size: int, mtime_ns: int) -> None:
    if sum(len(k) + len(v) for k, v in about.metadata.items()) > MAX_METADATA_BYTES:
        raise MetadataTooLarge(
            f"Your metadata headers exceed the maximum allowed metadata size, "
            f"{MAX_METADATA_BYTES} bytes."
        )
    said = {"etag": etag, "size": size, "mtime": mtime_ns}
    said |= {
        name: dict(value)
        for name in ("headers", "metadata", "checksums")
        if (value := getattr(about, name))
    }
    blob = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    if len(blob) > _MAX_BYTES:
        raise MetadataTooLarge(f"Headers and metadata of an object fit into {_MAX_BYTES} bytes.")
    if not _SUPPORTED:
        return
    try:
        os.setxattr(fd, NAME, blob)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _read(fd: int) -> dict[str, Any] | None:
    """What was written; empty where nothing was; None where nothing can be."""
    if not _SUPPORTED:
        return None
    try:
        said = json.loads(os.getxattr(fd, NAME))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        if error.errno == errno.ENODATA:
            return {}
        raise
    except (ValueError, RecursionError):  # not JSON, or nested to hurt
        return {}
    return said if _is_ours(said) else {}


def _is_ours(said: Any) -> bool:
    """Whoever may write the file may write its attributes: nothing in them is believed unseen."""
    return (
        isinstance(said, dict)
        and isinstance(said.get("etag"), str)
        and _ETAG.fullmatch(said["etag"]) is not None
        and isinstance(said.get("mtime"), int)
        and 0 <= said["mtime"] < _LAST_MTIME_NS
    )

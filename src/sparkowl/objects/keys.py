"""Names: which keys and buckets can be, and the path of a key inside its bucket's folder.

The path is the key, segment by segment, so that Spark, S3 clients and people see the same names.
Only what a file system cannot hold as a name is escaped, by a leading ``%~``: an empty segment,
``.``, ``..``, and a segment that begins with ``%~`` itself. A percent escape never begins so, and
Spark's own partition names (``day=1%3A2``) stay as they are. A key that ends in ``/`` (a "folder
marker") is the folder itself.

Pure: nothing here looks at a disk, and so nothing here can see a symbolic link. That is
:mod:`.folders`.
"""

from __future__ import annotations

import re
from typing import Final

from sparkowl.objects.errors import InvalidBucketName, InvalidKey, KeyTooLong

#: S3's limit, in bytes of UTF-8.
MAX_KEY_BYTES: Final = 1024
#: NAME_MAX of ext4, xfs, btrfs and tmpfs alike.
MAX_SEGMENT_BYTES: Final = 255

_ESCAPE: Final = "%~"
_UNNAMEABLE: Final = frozenset(("", ".", ".."))

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def check_key(key: str) -> None:
    """Refuse what cannot be a key here."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey("A key must be valid UTF-8.") from error
    if not key:
        raise InvalidKey("A key has at least one character.")
    if size > MAX_KEY_BYTES:
        raise KeyTooLong(f"Your key is too long: {size} bytes, of {MAX_KEY_BYTES}.")
    if "\0" in key:
        raise InvalidKey("A key cannot contain a NUL character: no file system holds it.")


def segments_of(key: str) -> tuple[str, ...]:
    """The names from the bucket's folder down to the file, or to the folder of a marker."""
    check_key(key)
    names = tuple(escaped(segment) for segment in key.removesuffix("/").split("/"))
    for name in names:
        if len(name.encode()) > MAX_SEGMENT_BYTES:
            raise KeyTooLong(
                f"Your key is too long: a part of it between slashes has more than "
                f"{MAX_SEGMENT_BYTES} bytes, the limit of the file system."
            )
    return names


def path_of(key: str) -> str:
    """The path of a key relative to its bucket's folder; a marker's keeps its final slash."""
    return "/".join(segments_of(key)) + ("/" if is_marker(key) else "")


def key_of(path: str) -> str | None:
    """The key of a path that :func:`path_of` could have made; None for any other path."""
    names = path.removesuffix("/").split("/")
    segments = [unescaped(name) for name in names]
    if None in segments or (segments[-1] == "" and not path.endswith("/")):
        return None
    return "/".join(segment or "" for segment in segments) + ("/" if path.endswith("/") else "")


def is_marker(key: str) -> bool:
    """Whether a key names a folder rather than a file."""
    return key.endswith("/")


def escaped(segment: str) -> str:
    """One segment of a key as a file name."""
    if segment in _UNNAMEABLE or segment.startswith(_ESCAPE):
        return _ESCAPE + segment
    return segment


def unescaped(name: str) -> str | None:
    """The segment of a file name; None where no segment has that name."""
    if not name.startswith(_ESCAPE):
        return None if name in _UNNAMEABLE else name
    segment = name.removeprefix(_ESCAPE)
    return segment if escaped(segment) == name else None


def is_checksum(name: str) -> bool:
    """Whether a file name is that of a checksum which Hadoop's local file system keeps."""
    return name.startswith(".") and name.endswith(".crc")


def checksum_of(name: str) -> str:
    """The name of the checksum file that Hadoop would keep for a file."""
    return f".{name}.crc"


def is_bucket_name(name: str) -> bool:
    """Whether S3's rules for general purpose buckets allow a name."""
    return (
        _BUCKET.fullmatch(name) is not None
        and ".." not in name
        and _IPV4.fullmatch(name) is None
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )


def check_bucket_name(name: str) -> None:
    """Refuse a name that S3 refuses."""
    if not is_bucket_name(name):
        raise InvalidBucketName(
            f"The specified bucket is not valid: {name[:80]!r} must have 3 to 63 lower-case "
            "letters, digits, dots and hyphens, and begin and end with a letter or digit."
        )

"""``s3://bucket/key``: read in one place, so that whoever checks one and whoever opens it agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SCHEME: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Location:
    """An object, or, without a key, a bucket."""

    bucket: str
    key: str = ""

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}" if self.key else f"{_SCHEME}{self.bucket}"


def parse(uri: str) -> Location:
    """The bucket and key that a URI names; the key may be empty.

    Schemes have no case (RFC 3986, 3.1); buckets and keys have. Nothing is decoded: AWS's own tools
    take the text of a key as it stands, too. ValueError, worded to follow the URI, for any other
    text.
    """
    if uri[: len(_SCHEME)].lower() != _SCHEME:
        raise ValueError("must be like s3://bucket/key")
    bucket, _, key = uri[len(_SCHEME) :].partition("/")
    if not bucket:
        raise ValueError("names no bucket: it must be like s3://bucket/key")
    return Location(bucket, key)


def parse_object(uri: str) -> Location:
    """As :func:`parse`; ValueError for a bucket without a key, too."""
    location = parse(uri)
    if not location.key:
        raise ValueError("names no object: it must be like s3://bucket/key")
    return location

"""Which bucket a request's host names: S3's virtual-hosted style.

``http://lake.s3.localhost:8765/key`` is ``http://s3.localhost:8765/lake/key``. Names under
``.localhost`` are this machine's own (RFC 6761, section 6.3), so neither DNS nor a setting is
needed. With any other host, ``s3.localhost`` itself among them, the bucket is in the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: The endpoint to give to clients that put the bucket in front of it.
DOMAIN: Final = "s3.localhost"

_HOST: Final = re.compile(rf"(.+)\.{re.escape(DOMAIN)}\.?(?::[0-9]*)?", re.IGNORECASE)


def bucket_in(host: str) -> str:
    """The bucket that a ``Host`` header names, whether there is such a one or not; empty for path
    style. Hosts are the same in upper case, and buckets have none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found[1].lower()


def bucket_named(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The same from ASGI's headers."""
    for name, value in headers:
        if name == b"host":
            return bucket_in(value.decode("latin-1"))
    return ""

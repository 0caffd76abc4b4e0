"""NextTokens: opaque, signed, and bound to the list they came from.

A token says behind which row the next page begins, so pages stay right while rows come and go, and
the server keeps nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sparkowl.domain.errors import InvalidRequest

T = TypeVar("T")

_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one list: of one operation with one set of parameters."""

    key: bytes
    operation: str
    request: Mapping[str, Any]
    #: Rows on a page when MaxResults is not given.
    default: int
    #: The most that a page may have, whatever MaxResults is; None: as many as MaxResults may be.
    most: int | None = None

    def page(
        self, fetch: Callable[[Any, int], Sequence[T]], position: Callable[[T], Any]
    ) -> tuple[Sequence[T], str | None]:
        """The page that the request asks for, and the token of the next, or None.

        ``fetch(after, limit)`` reads rows; ``position(row)`` is what a later ``fetch`` takes as
        ``after``.
        """
        scope = self._scope()
        token = self.request.get("NextToken")
        after = None if token is None else _open(self.key, scope, token)
        limit = self.request.get("MaxResults", self.default)
        if self.most is not None:
            limit = min(limit, self.most)
        rows = fetch(after, limit + 1)
        if len(rows) <= limit:
            return rows, None
        rows = rows[:limit]
        return rows, _seal(self.key, scope, position(rows[-1]))

    def _scope(self) -> str:
        paging = {"NextToken", "MaxResults"}
        filters = {name: value for name, value in self.request.items() if name not in paging}
        return json.dumps([self.operation, filters], sort_keys=True)


def _seal(key: bytes, scope: str, position: Any) -> str:
    payload = json.dumps(position).encode()
    return urlsafe_b64encode(_mac(key, scope, payload) + payload).decode()


def _open(key: bytes, scope: str, token: str) -> Any:
    try:
        sealed = urlsafe_b64decode(token.encode())
    except ValueError:
        sealed = b""
    mac, payload = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    genuine = hmac.compare_digest(mac, _mac(key, scope, payload))
    # Base64 is read leniently: what stands behind its end, for one, is passed over.
    if not genuine or urlsafe_b64encode(sealed).decode() != token:
        raise InvalidRequest("NextToken is not one that this operation gave for this request.")
    position = json.loads(payload)
    return tuple(position) if isinstance(position, list) else position


def _mac(key: bytes, scope: str, payload: bytes) -> bytes:
    return hmac.new(key, scope.encode() + b"\0" + payload, hashlib.sha256).digest()[:_MAC_BYTES]

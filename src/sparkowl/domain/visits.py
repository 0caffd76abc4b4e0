"""The two tokens that open a session's notebook to a browser.

A *link* is part of a URL that somebody asked for: it opens the notebook for minutes. The door
trades it for a *visit*, which the browser keeps as a cookie. Either names one session and who asked
for the link, and ends at a time of its own; neither is kept anywhere, and neither passes for the
other. What is in them is no secret; that nobody else can make one is what counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

#: Athena's AuthToken has at most so many characters; what is longer is no token of ours.
LONGEST: Final = 2048
_MAC_BYTES: Final = 32


class Purpose(StrEnum):
    LINK = "link"
    VISIT = "visit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a token says."""

    session_id: str
    #: Who asked for the link.
    principal: str
    #: In whole seconds.
    expires_at: datetime
    #: Two tokens that say the same are still two.
    nonce: str


def new_pass(session_id: str, principal: str, expires_at: datetime) -> Pass:
    return Pass(
        session_id=session_id,
        principal=principal,
        expires_at=expires_at.replace(microsecond=0),
        nonce=secrets.token_urlsafe(16),
    )


def seal(key: bytes, purpose: Purpose, given: Pass) -> str:
    """The token; of the characters of URL-safe Base64."""
    said = [given.session_id, given.principal, int(given.expires_at.timestamp()), given.nonce]
    payload = json.dumps(said, separators=(",", ":")).encode()
    return _text(_mac(key, purpose, payload) + payload)


def unseal(key: bytes, purpose: Purpose, token: str, session_id: str, now: datetime) -> Pass | None:
    """What a token says; None unless we made it, for this purpose and session, and it still holds.

    What it costs to find out depends only on how long the token is.
    """
    if not 0 < len(token) <= LONGEST or not token.isascii():
        return None
    try:
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    mac, payload = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    genuine = hmac.compare_digest(mac, _mac(key, purpose, payload))
    # Base64 is read leniently, and one token has one spelling.
    if not genuine or _text(sealed) != token:
        return None
    session, principal, expires, nonce = json.loads(payload)
    expires_at = datetime.fromtimestamp(expires, UTC)
    if session != session_id or now >= expires_at:
        return None
    return Pass(session_id=session, principal=principal, expires_at=expires_at, nonce=nonce)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _mac(key: bytes, purpose: Purpose, payload: bytes) -> bytes:
    return hmac.new(key, purpose.encode() + b"\0" + payload, hashlib.sha256).digest()

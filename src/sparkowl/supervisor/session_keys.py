"""The keys of sessions where the server itself keeps the objects: derived, and nothing is stored.

Whoever signs with one is found again by :mod:`sparkowl.access.session_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparkowl.domain import session_key
from sparkowl.domain.session import Session
from sparkowl.supervisor.means import SessionKeys


class DerivedKeys:
    """Open both doors of the server, until the session ends."""

    def __init__(self, key: bytes) -> None:
        """``key`` is the servers', for :data:`sparkowl.domain.session_key.PURPOSE`."""
        self._key = key

    async def of(self, session: Session) -> Mapping[str, str]:
        return {
            "aws_access_key_id": session_key.key_id(session.id),
            "aws_secret_access_key": session_key.secret(self._key, session.id),
        }


_: type[SessionKeys] = DerivedKeys

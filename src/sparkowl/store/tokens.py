"""ClientRequestTokens: a repeated request finds what the first one made.

The row is written in the transaction that makes the resource, so of two requests that race one
makes it and the other finds it. A token is its principal's own: whoever sends another's token makes
something new, and learns nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.policy import ROOT
from sparkowl.store import tables
from sparkowl.store.tables import micros

_t: Final = tables.request_tokens.c


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that must make only one thing, however often its principal sends it."""

    operation: str
    principal: str
    request: Mapping[str, Any]

    @property
    def token(self) -> str | None:
        """As it is kept. That of ``root`` is kept as sent, as before there were others."""
        token = self.request.get("ClientRequestToken")
        if token is None or self.principal == ROOT.name:
            return token
        return hashlib.sha256(f"{self.principal}\0{token}".encode()).hexdigest()

    @property
    def parameters(self) -> str:
        text = json.dumps(self.request, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def find(connection: Connection, asked: Asked) -> str | None:
    """The id of what this request made before; None when it is new or carries no token.

    Raises InvalidRequest when the token was used with other parameters.
    """
    token = asked.token
    if token is None:
        return None
    query = select(_t.parameters, _t.resource_id).where(
        _t.operation == asked.operation, _t.token == token
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.parameters != asked.parameters:
        raise InvalidRequest(
            "Idempotent parameters do not match: this ClientRequestToken was used before with "
            "other parameters."
        )
    return str(row.resource_id)


def insert_token(connection: Connection, asked: Asked, resource_id: str, at: datetime) -> None:
    """Remember what the request made; nothing to remember without a token."""
    token = asked.token
    if token is None:
        return
    connection.execute(
        insert(tables.request_tokens).values(
            operation=asked.operation,
            token=token,
            parameters=asked.parameters,
            resource_id=resource_id,
            created_at=micros(at),
        )
    )

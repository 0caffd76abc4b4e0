"""ClientRequestTokens: a repeated request finds what the first one made.

The row is written in the transaction that makes the resource, so of two requests that race one
makes it and the other finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from sparkowl.domain.errors import InvalidRequest
from sparkowl.store import tables
from sparkowl.store.tables import micros

_t: Final = tables.request_tokens.c


def find(connection: Connection, operation: str, request: Mapping[str, Any]) -> str | None:
    """The id of what this request made before; None when it is new or carries no token.

    Raises InvalidRequest when the token was used with other parameters.
    """
    token = request.get("ClientRequestToken")
    if token is None:
        return None
    query = select(_t.parameters, _t.resource_id).where(
        _t.operation == operation, _t.token == token
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.parameters != _digest(request):
        raise InvalidRequest(
            "Idempotent parameters do not match: this ClientRequestToken was used before with "
            "other parameters."
        )
    return str(row.resource_id)


def insert_token(
    connection: Connection,
    operation: str,
    request: Mapping[str, Any],
    resource_id: str,
    at: datetime,
) -> None:
    """Remember what the request made; nothing to remember without a token."""
    token = request.get("ClientRequestToken")
    if token is None:
        return
    connection.execute(
        insert(tables.request_tokens).values(
            operation=operation,
            token=token,
            parameters=_digest(request),
            resource_id=resource_id,
            created_at=micros(at),
        )
    )


def _digest(request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()

"""How long a session stays, for the page that shows it, and the page's wish that it stay longer.

No operations of Athena's: whoever calls has decided already that the caller may.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import session as domain
from sparkowl.domain.ids import SessionId
from sparkowl.domain.session import Event, Session
from sparkowl.operations.context import Context
from sparkowl.store import notebooks, sessions


async def view(ctx: Context, session_id: str) -> dict[str, Any]:
    """``state``, ``reason``, ``stops_in_s`` (None unless it is IDLE), ``warn_s`` (how long before
    that the page warns) and ``name``, of its notebook (None: it has no Jupyter server).

    Raises InvalidRequest for an unknown session.
    """
    return await ctx.store.read(lambda tx: _view(ctx, tx, sessions.get(tx, session_id)))


async def extend(ctx: Context, session_id: str) -> dict[str, Any]:
    """Begin the idle time anew, now, and answer as :func:`view`. A session that is not IDLE stays
    as it is."""

    def write(tx: Connection) -> dict[str, Any]:
        session = sessions.change(tx, session_id, Event.EXTENDED, at=ctx.clock.now())
        return _view(ctx, tx, session)

    answer = await ctx.store.write(write)
    ctx.wake(SessionId(session_id))
    return answer


def _view(ctx: Context, tx: Connection, session: Session) -> dict[str, Any]:
    second = timedelta(seconds=1)
    stops_at = domain.stops_at(session)
    left = None if stops_at is None else max(0.0, (stops_at - ctx.clock.now()) / second)
    return {
        "state": str(session.state),
        "reason": session.reason,
        "stops_in_s": left,
        "warn_s": ctx.notebooks.warn / second,
        "name": notebooks.name_of(tx, session) if session.has_jupyter else None,
    }

"""How long a session may still be idle, and how it goes on."""

from __future__ import annotations

from typing import Any

from sparkowl.operations.context import Context
from sparkowl.operations.presigned import name_of
from sparkowl.store import sessions


async def view(ctx: Context, session_id: str) -> dict[str, Any]:
    session, name = await ctx.store.read(
        lambda tx: (found := sessions.get(tx, session_id), name_of(tx, found))
    )
    stops = session.idle_since and session.idle_since + session.idle_timeout - ctx.clock.now()
    return {
        "state": str(session.state),
        "reason": session.reason,
        "stops_in_s": stops.total_seconds() if stops else None,
        "warn_s": 120,
        "name": name,
    }


async def extend(ctx: Context, session_id: str) -> dict[str, Any]:
    return await view(ctx, session_id)

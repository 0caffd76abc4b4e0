"""The notebook of a session, for its page: read and saved."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import notebook as domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import new_notebook_id
from sparkowl.operations.context import Context
from sparkowl.store import notebooks, sessions

Output = dict[str, Any]


async def load_for_session(ctx: Context, session_id: str) -> Output:
    """What the session's page opens: ``name``, ``payload``, ``modified_at`` and ``version``."""

    def read(tx: Connection) -> Output:
        session = sessions.get(tx, session_id)
        if session.notebook_id is None:
            return {
                "name": domain.unsaved_name(session.id),
                "payload": domain.empty(),
                "modified_at": session.created_at,
                "version": 0,
            }
        found = notebooks.get(tx, session.notebook_id)
        version = notebooks.version(tx, found.id, found.version)
        assert version is not None  # written with its row
        return {
            "name": found.name,
            "payload": version.payload,
            "modified_at": version.saved_at,
            "version": version.number,
        }

    return await ctx.store.read(read)


async def save_for_session(ctx: Context, session_id: str, payload: str | bytes) -> Output:
    """Save what the session's page shows: ``modified_at`` and ``version``."""
    text = domain.require_payload(payload, "The notebook")

    def write(tx: Connection) -> Output:
        session = sessions.get(tx, session_id)
        now = ctx.clock.now()
        if session.notebook_id is not None:
            raise InvalidRequest("The notebook cannot be saved.")
        made = domain.Notebook(
            id=new_notebook_id(),
            work_group=session.work_group,
            name=domain.unsaved_name(session.id),
            created_at=now,
            modified_at=now,
        )
        first = domain.Version(number=1, payload=text, saved_at=now, session_id=session.id)
        notebooks.insert_notebook(tx, made, first)
        sessions.set_notebook(tx, session.id, made.id)
        return {"modified_at": now, "version": 1}

    return await ctx.store.write(write)

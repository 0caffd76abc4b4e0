"""The notebook operations, and how a session's page reads and saves its notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import notebook as domain
from sparkowl.domain import session as session_domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import Notebook
from sparkowl.domain.session import Session
from sparkowl.operations import saving
from sparkowl.operations.context import Context
from sparkowl.operations.saving import Content
from sparkowl.store import notebooks, sessions, workgroups

Input = Mapping[str, Any]
Output = dict[str, Any]


# --- the page of a session ---------------------------------------------------------------------


async def load_for_session(ctx: Context, session_id: str) -> Output:
    """What the session's page opens: ``name``, ``payload``, ``modified_at`` and ``version``.

    Version 0 is the empty notebook of a session that was asked for none and has saved nothing.
    InvalidRequest for a session that is not there or has no page, or whose notebook was deleted.
    """

    def read(tx: Connection) -> Output:
        session = _with_page(tx, session_id)
        if session.notebook_id is None:
            return {
                "name": domain.unsaved_name(session.id),
                "payload": domain.empty(),
                "modified_at": session.created_at,
                "version": 0,
            }
        notebook, payload = notebooks.with_payload(tx, session.notebook_id)
        return {
            "name": notebook.name,
            "payload": payload,
            "modified_at": notebook.modified_at,
            "version": notebook.version,
        }

    return await ctx.store.read(read)


async def save_for_session(ctx: Context, session_id: str, payload: str | bytes) -> Output:
    """Save what the session's page shows, by the rules of UpdateNotebook: ``modified_at`` and
    ``version``.

    The first save of a session that has no notebook makes it. InvalidRequest for what is no
    notebook, and for a session that has ended.
    """
    text = await asyncio.to_thread(domain.require_payload, payload, "The notebook")

    def write(tx: Connection) -> Notebook:
        session = _with_page(tx, session_id)
        if session.state in session_domain.TERMINAL:
            raise InvalidRequest(f"Session {session.id} has ended: it saves nothing any more.")
        content = Content(payload=text, principal=session.principal, session_id=session.id)
        if session.notebook_id is None:
            return _first_save(ctx, tx, session, content)
        notebook = notebooks.get(tx, session.notebook_id)
        saving.require_its_session(tx, notebook, session.id)
        return saving.save(ctx, tx, notebook, content)

    saved = await ctx.store.write(write)
    return {"modified_at": saved.modified_at, "version": saved.version}


def _with_page(tx: Connection, session_id: str) -> Session:
    session = sessions.get(tx, session_id)
    if not session.has_jupyter:
        raise InvalidRequest(f"Session {session.id} was started without NotebookVersion.")
    return session


def _first_save(ctx: Context, tx: Connection, session: Session, content: Content) -> Notebook:
    work_group = workgroups.get(tx, session.work_group)
    if work_group.created_at > session.created_at:
        raise InvalidRequest(f"The WorkGroup of session {session.id} was deleted.")
    taken = notebooks.names(tx, work_group.name)
    name = domain.free_name(domain.unsaved_name(session.id), taken)
    made = saving.create(ctx, tx, work_group.name, name, content)
    sessions.set_notebook(tx, session.id, made.id)
    return made

"""The notebook operations, and how a session's page reads and saves its notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import engine
from sparkowl.domain import notebook as domain
from sparkowl.domain import session as session_domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import Notebook
from sparkowl.domain.session import Session
from sparkowl.domain.workgroup import require_spark
from sparkowl.operations import importing, saving
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.operations.saving import Content
from sparkowl.store import notebooks, sessions, tokens, workgroups
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]

#: The most that NotebookSessionsList holds in Athena's model, whatever MaxResults is.
_SESSIONS: Final = 10


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


# --- the operations ----------------------------------------------------------------------------


async def create_notebook(ctx: Context, request: Input) -> Output:
    """A new, empty notebook."""
    domain.require_name(request["Name"])
    return await _create(ctx, "CreateNotebook", request, domain.empty())


async def import_notebook(ctx: Context, request: Input) -> Output:
    """A new notebook with the content of exactly one of Payload and NotebookS3LocationUri."""
    domain.require_name(request["Name"])
    payload = request.get("Payload")
    if (payload is None) == ("NotebookS3LocationUri" not in request):
        raise InvalidRequest("Exactly one of Payload and NotebookS3LocationUri must be given.")
    # A repeated request gets its answer also when what it was made from is gone.
    asked = tokens.Asked("ImportNotebook", ctx.caller.name, request)
    known = await ctx.store.read(lambda tx: tokens.find(tx, asked))
    if known is not None:
        return {"NotebookId": known}
    if payload is not None:
        text = await asyncio.to_thread(domain.require_payload, payload, "Payload")
    else:
        place = importing.place_of(request["NotebookS3LocationUri"], "NotebookS3LocationUri")
        text = await importing.read(ctx, place, "NotebookS3LocationUri")
    return await _create(ctx, "ImportNotebook", request, text)


async def _create(ctx: Context, operation: str, request: Input, payload: str) -> Output:
    asked = tokens.Asked(operation, ctx.caller.name, request)

    def write(tx: Connection) -> str:
        known = tokens.find(tx, asked)
        if known is not None:
            return known
        work_group = workgroups.get(tx, request["WorkGroup"])
        require_spark(work_group)
        engine.require_notebooks(work_group.engine_version, "A notebook")
        content = Content(payload=payload, principal=ctx.caller.name)
        made = saving.create(ctx, tx, work_group.name, request["Name"], content)
        tokens.insert_token(tx, asked, made.id, made.created_at)
        return made.id

    return {"NotebookId": await ctx.store.write(write)}


async def export_notebook(ctx: Context, request: Input) -> Output:
    """The notebook as it was last saved."""
    notebook, payload = await ctx.store.read(
        lambda tx: notebooks.with_payload(tx, request["NotebookId"])
    )
    return {"NotebookMetadata": _metadata(notebook), "Payload": payload}


async def get_notebook_metadata(ctx: Context, request: Input) -> Output:
    notebook = await ctx.store.read(lambda tx: notebooks.get(tx, request["NotebookId"]))
    return {"NotebookMetadata": _metadata(notebook)}


async def list_notebook_metadata(ctx: Context, request: Input) -> Output:
    """Newest first; with Filters.Name, those whose name contains it, whatever the case."""
    part = request.get("Filters", {}).get("Name")

    def read(tx: Connection) -> Output:
        work_group = workgroups.get(tx, request["WorkGroup"])
        rows, token = Pages(ctx.paging_key, "ListNotebookMetadata", request, 50).page(
            lambda after, limit: notebooks.list_page(
                tx, work_group.name, part=part, after=after, limit=limit
            ),
            lambda notebook: (micros(notebook.created_at), notebook.id),
        )
        return {"NotebookMetadataList": [_metadata(row) for row in rows], "NextToken": token}

    return await ctx.store.read(read)


async def update_notebook(ctx: Context, request: Input) -> Output:
    """A new version. While the notebook has an active session, this must be named."""
    text = await asyncio.to_thread(domain.require_payload, request["Payload"], "Payload")
    asked = tokens.Asked("UpdateNotebook", ctx.caller.name, request)

    def write(tx: Connection) -> None:
        if tokens.find(tx, asked) is not None:
            return
        notebook = notebooks.get(tx, request["NotebookId"])
        session_id = request.get("SessionId")
        saving.require_its_session(tx, notebook, session_id)
        content = Content(payload=text, principal=ctx.caller.name, session_id=session_id)
        saved = saving.save(ctx, tx, notebook, content)
        tokens.insert_token(tx, asked, saved.id, saved.modified_at)

    await ctx.store.write(write)
    return {}


async def update_notebook_metadata(ctx: Context, request: Input) -> Output:
    """Another name, once the notebook's sessions have ended."""
    name = request["Name"]
    domain.require_name(name)
    asked = tokens.Asked("UpdateNotebookMetadata", ctx.caller.name, request)

    def write(tx: Connection) -> None:
        if tokens.find(tx, asked) is not None:
            return
        notebook = notebooks.get(tx, request["NotebookId"])
        saving.require_no_session(tx, notebook, "renamed")
        if name != notebook.name:
            saving.require_free(tx, notebook.work_group, name)
        now = ctx.clock.now()
        notebooks.replace(tx, replace(notebook, name=name, modified_at=now))
        tokens.insert_token(tx, asked, notebook.id, now)

    await ctx.store.write(write)
    return {}


async def delete_notebook(ctx: Context, request: Input) -> Output:
    """With all its versions, once its sessions have ended."""

    def write(tx: Connection) -> None:
        notebook = notebooks.get(tx, request["NotebookId"])
        saving.require_no_session(tx, notebook, "deleted")
        notebooks.delete_notebook(tx, notebook.id)

    await ctx.store.write(write)
    return {}


async def list_notebook_sessions(ctx: Context, request: Input) -> Output:
    """Those that are active, newest first. A page has at most ten, as in Athena's model."""

    def read(tx: Connection) -> Output:
        notebook = notebooks.get(tx, request["NotebookId"])
        pages = Pages(ctx.paging_key, "ListNotebookSessions", request, _SESSIONS, most=_SESSIONS)
        rows, token = pages.page(
            lambda after, limit: sessions.list_of_notebook(
                tx, notebook.id, session_domain.ACTIVE, after=after, limit=limit
            ),
            lambda session: (micros(session.created_at), session.id),
        )
        found = [{"SessionId": row.id, "CreationTime": row.created_at} for row in rows]
        return {"NotebookSessionsList": found, "NextToken": token}

    return await ctx.store.read(read)


def _metadata(notebook: Notebook) -> Output:
    return {
        "NotebookId": notebook.id,
        "Name": notebook.name,
        "WorkGroup": notebook.work_group,
        "CreationTime": notebook.created_at,
        "Type": domain.IPYNB,
        "LastModifiedTime": notebook.modified_at,
    }

"""The notebook that a new session opens: one of its workgroup, or one that a file becomes."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from sparkowl.domain.errors import InvalidRequest, SessionAlreadyExists
from sparkowl.domain.opening import FILE_MEMBER, ID_MEMBER, Opening, S3File, WebFile
from sparkowl.domain.session import Session
from sparkowl.operations import importing
from sparkowl.operations.context import Context
from sparkowl.store import notebooks, sessions


def require_allowed(ctx: Context, opening: Opening) -> None:
    """Raise where the operator forbade to fetch from the web."""
    if isinstance(opening.file, WebFile) and not ctx.notebooks.downloads:
        raise InvalidRequest(
            f"{FILE_MEMBER}: this server takes s3:// files only (setting notebooks.downloads)."
        )


async def read_file(ctx: Context, file: S3File) -> str:
    """The content of an object that becomes a notebook; InvalidRequest unless it can."""
    return await importing.read(ctx, file.place, FILE_MEMBER)


def opened(
    ctx: Context, tx: Connection, session: Session, opening: Opening, payload: str | None
) -> Session:
    """The session with its notebook, where there is one already.

    ``payload``: of a file that was read. One on the web comes later, and so does a fresh notebook,
    with its first save.
    """
    if opening.notebook_id is not None:
        return _with_notebook(tx, session, opening.notebook_id)
    if payload is None or opening.file is None:
        return session
    made = notebooks.insert_file(
        tx, session.work_group, opening.file.name, payload, session.created_at, ctx.caller.name
    )
    return replace(session, notebook_id=made)


def _with_notebook(tx: Connection, session: Session, notebook_id: str) -> Session:
    notebook = notebooks.find(tx, notebook_id)
    if notebook is None or notebook.work_group != session.work_group:
        raise InvalidRequest(
            f"{ID_MEMBER}: notebook {notebook_id[:64]} is not found in workgroup "
            f"{session.work_group}."
        )
    live = sessions.live_of_notebook(tx, notebook.id)
    if live is not None:
        raise SessionAlreadyExists(
            f"The specified session already exists: notebook {notebook.id} has session {live.id}, "
            f"which is {live.state}."
        )
    return replace(session, notebook_id=notebook.id)

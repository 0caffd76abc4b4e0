"""How a notebook comes to be and is saved: what the operations and a session's page share.

All of it within a transaction, of which SQLite and PostgreSQL both run one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import SessionId, new_notebook_id
from sparkowl.domain.notebook import Notebook, Version
from sparkowl.operations.context import Context
from sparkowl.store import notebooks, sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is saved, and by whom."""

    #: An .ipynb that was checked.
    payload: str
    principal: str | None
    #: Whose page it is saved from; None: by a call that named no session.
    session_id: SessionId | None = None

    def version(self, number: int, at: datetime) -> Version:
        return Version(
            number=number,
            payload=self.payload,
            saved_at=at,
            session_id=self.session_id,
            principal=self.principal,
        )


def create(ctx: Context, tx: Connection, work_group: str, name: str, content: Content) -> Notebook:
    """A new notebook with its first version; its name must be free in the workgroup."""
    require_free(tx, work_group, name)
    now = ctx.clock.now()
    notebook = Notebook(
        id=new_notebook_id(), work_group=work_group, name=name, created_at=now, modified_at=now
    )
    notebooks.insert_notebook(tx, notebook, content.version(1, now))
    return notebook


def require_free(tx: Connection, work_group: str, name: str) -> None:
    """Raise :class:`InvalidRequest` when a notebook of the workgroup has this name."""
    if notebooks.by_name(tx, work_group, name) is not None:
        raise InvalidRequest(f"WorkGroup {work_group} already has a notebook named {name}.")


def save(ctx: Context, tx: Connection, notebook: Notebook, content: Content) -> Notebook:
    """The notebook with this content as its last version.

    What is saved over stays a version, until ``ctx.notebooks.versions`` newer ones are there. The
    same content again makes no version, only a later time of modification.
    """
    now = ctx.clock.now()
    _, last = notebooks.with_payload(tx, notebook.id)
    if last == content.payload:
        saved = replace(notebook, modified_at=now)
    else:
        saved = replace(notebook, modified_at=now, version=notebook.version + 1)
        notebooks.insert_version(tx, notebook.id, content.version(saved.version, now))
        notebooks.drop_versions(tx, notebook.id, saved.version - ctx.notebooks.versions)
    notebooks.replace(tx, saved)
    return saved


def require_its_session(tx: Connection, notebook: Notebook, session_id: str | None) -> None:
    """Raise unless who saves names the notebook's active session, or no session if it has none."""
    active = sessions.live_of_notebook(tx, notebook.id)
    if session_id is None:
        if active is not None:
            raise InvalidRequest(
                f"SessionId is required: notebook {notebook.id} has the active session {active.id}."
            )
    elif active is None or active.id != session_id:
        raise InvalidRequest(
            f"SessionId {session_id} is not an active session of notebook {notebook.id}."
        )


def require_no_session(tx: Connection, notebook: Notebook, doing: str) -> None:
    """Raise while a session of the notebook lives: its page knows it by its name."""
    active = sessions.live_of_notebook(tx, notebook.id)
    if active is not None:
        raise InvalidRequest(
            f"Notebook {notebook.id} cannot be {doing}: its sessions must be terminated first. "
            f"Session {active.id} is {active.state}."
        )

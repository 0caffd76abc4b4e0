"""CreatePresignedNotebookUrl: a link that opens a session's notebook in a browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import jupyter_base
from sparkowl.domain.session import ACTIVE, Session
from sparkowl.domain.visits import Purpose, new_pass, seal
from sparkowl.operations.context import Context
from sparkowl.store import notebooks, sessions

Input = Mapping[str, Any]
Output = dict[str, Any]


async def create_presigned_notebook_url(ctx: Context, request: Input) -> Output:
    """A session that is still starting has a link, too: the page waits for it.

    AuthTokenExpirationTime is a number without a unit in Athena's model ("UTC epoch"). Here it is
    in milliseconds, as every other time that the model has as a number.
    """

    def read(tx: Connection) -> tuple[Session, str]:
        session = sessions.get(tx, request["SessionId"])
        return session, notebooks.name_of(tx, session)

    session, name = await ctx.store.read(read)
    if not session.has_jupyter:
        raise InvalidRequest(
            f"Session {session.id} has no notebook: it was started without NotebookVersion."
        )
    if session.state not in ACTIVE:
        raise InvalidRequest(f"Session {session.id} is {session.state}; its notebook is closed.")
    terms = ctx.notebooks
    given = new_pass(session.id, ctx.caller.name, ctx.clock.now() + terms.link)
    token = seal(terms.key, Purpose.LINK, given)
    url = terms.url_of(session.id) + page_of(session.id, name)
    return {
        "NotebookUrl": f"{url}?token={token}",
        "AuthToken": token,
        "AuthTokenExpirationTime": int(given.expires_at.timestamp()) * 1000,
    }


def page_of(session_id: str, name: str) -> str:
    """The path of the page that shows a notebook."""
    return f"{jupyter_base(session_id)}notebooks/{quote(name, safe='')}.ipynb"

"""Files on the web that become sessions' notebooks, while they are on their way.

What is known here is of this process only: a server that takes a session up finds by its row that
the notebook has not come, and fetches it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from sparkowl.domain import opening
from sparkowl.domain import session as domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, SessionId
from sparkowl.domain.notebook import require_payload
from sparkowl.domain.session import Session
from sparkowl.objects.download import DownloadError
from sparkowl.store import notebooks, sessions
from sparkowl.supervisor.beside import Beside
from sparkowl.supervisor.means import Means

log = logging.getLogger(__name__)

#: Downloads at once; each holds its file in memory. The others wait, outside of their time limit.
AT_ONCE: Final = 4


class Fetching:
    """One fetch for each session that awaits a file."""

    def __init__(self, means: Means, wake: Callable[[SessionId], None]) -> None:
        """``wake`` is called when there is news of a session."""
        self._means = means
        self._turns = asyncio.Semaphore(AT_ONCE)
        #: Each results in why the file did not become a notebook; None: it did.
        self._fetches: Beside[str | None] = Beside(wake)

    def begin(self, session: Session, uri: str) -> None:
        """Fetch the file and bind it to the session. Returns at once."""
        self._fetches.begin(session.id, self._fetch(session, uri))

    def seen(self, session_id: SessionId) -> tuple[bool, str | None]:
        """Whether a fetch was begun, and why it failed, if it did.

        Raises what else went wrong (a lost database), once: then it can be begun again.
        """
        if not self._fetches.done(session_id):
            return self._fetches.begun(session_id), None
        return True, self._fetches.result(session_id)

    def drop(self, session_id: SessionId) -> None:
        """Stop fetching for a session; nothing where none is under way."""
        self._fetches.drop(session_id)

    async def close(self) -> None:
        """Stop all."""
        await self._fetches.close()

    async def _fetch(self, session: Session, uri: str) -> str | None:
        async with self._turns:
            try:
                # The rules once more: a server of another version may have written the row.
                name = opening.file_of(uri).name
                data = await self._means.download.fetch(uri)
                payload = await asyncio.to_thread(_checked, data)
            except DownloadError as error:
                return f"{opening.FILE}: {error}"
            except InvalidRequest as error:
                return str(error)
        bound = await self._bind(session.id, name, payload)
        if bound is None:
            # Should the session come back to this server, it is to be fetched again.
            self._fetches.forget(session.id)
            return None
        log.info(
            "notebook fetched",
            extra={"session": session.id, "notebook": bound, "size_bytes": len(data)},
        )
        return None

    async def _bind(self, session_id: SessionId, name: str, payload: str) -> NotebookId | None:
        """Make the notebook, unless the session ended or went to another server meanwhile."""
        means, now = self._means, self._means.clock.now()

        def write(tx: Connection) -> NotebookId | None:
            session = sessions.get(tx, session_id)
            ours = session.server == means.server
            if not ours or session.awaited_file is None or session.state not in domain.ACTIVE:
                return None
            made = notebooks.insert_file(
                tx, session.work_group, name, payload, now, session.principal
            )
            sessions.set_notebook(tx, session_id, made)
            timeline = domain.notebook_came(session, now)
            sessions.set_timeline(tx, replace(session, timeline=timeline))
            return made

        return await means.store.write(write)


def _checked(data: bytes) -> str:
    """The content as text; InvalidRequest unless it is a notebook's."""
    try:
        return require_payload(data, f"{opening.FILE}: The file")
    except InvalidRequest as error:
        if data.lstrip()[:1] != b"<":
            raise
        # The usual mistake: a code host shows a file on a page of its own.
        raise InvalidRequest(
            f"{error} It looks like a web page; give the address of the file itself (often called "
            "raw)."
        ) from None

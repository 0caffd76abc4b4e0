"""Packages of sessions' workgroups, while they are being built.

What is known here is of this process only: a server that takes a session up asks again, and finds
what is built already.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparkowl.domain.ids import SessionId
from sparkowl.domain.session import Session
from sparkowl.launchers.requirements import PackagesError
from sparkowl.supervisor.beside import Beside
from sparkowl.supervisor.means import Means


class Preparing:
    """One request for each session whose workgroup has a requirements file."""

    def __init__(self, means: Means, wake: Callable[[SessionId], None]) -> None:
        """``wake`` is called when there is news of a session."""
        self._means = means
        #: Each results in the folder, or in why there is none.
        self._requests: Beside[Path | str] = Beside(wake)

    def begin(self, session: Session) -> None:
        """Ask for the packages. Returns at once."""
        self._requests.begin(session.id, self._prepare(session))

    def seen(self, session: Session) -> tuple[bool, bool, str | None]:
        """Whether the session still has to wait, whether it was asked for, and why it waits in
        vain, if it does.

        Raises what else went wrong, once: then it can be begun again.
        """
        if session.work_group not in self._means.packages.work_groups:
            return False, False, None
        if not self._requests.done(session.id):
            return True, self._requests.begun(session.id), None
        found = self._requests.result(session.id)
        return (True, True, found) if isinstance(found, str) else (False, True, None)

    def folder(self, session_id: SessionId) -> str:
        """The folder with the session's packages, once it need not wait; empty: it has none, or
        this server has not found them (again)."""
        found = self._requests.found(session_id)
        return str(found) if isinstance(found, Path) else ""

    def drop(self, session_id: SessionId) -> None:
        """Forget a session that needs no packages any more; a build goes on."""
        self._means.prepared.discard(session_id)
        self._requests.drop(session_id)

    async def close(self) -> None:
        """Break off everything."""
        await self._requests.close()
        await self._means.packages.close()

    async def _prepare(self, session: Session) -> Path | str:
        try:
            found = await self._means.packages.provide(session.work_group, session.engine_version)
        except PackagesError as error:
            return f"The packages of its workgroup: {error}."
        self._means.prepared.add(session.id)
        return found

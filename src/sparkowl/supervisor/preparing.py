"""Packages of sessions' workgroups, while they are being built.

What is known here is of this process only: a server that takes a session up asks again, and finds
what is built already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sparkowl.domain.ids import SessionId
from sparkowl.domain.session import Session
from sparkowl.launchers.requirements import PackagesError
from sparkowl.supervisor.means import Means


class Preparing:
    """One request for each session whose workgroup has a requirements file."""

    def __init__(self, means: Means, wake: Callable[[SessionId], None]) -> None:
        """``wake`` is called when there is news of a session."""
        self._means = means
        self._wake = wake
        #: Each results in the folder, or in why there is none.
        self._tasks: dict[SessionId, asyncio.Task[Path | str]] = {}

    def begin(self, session: Session) -> None:
        """Ask for the packages. Returns at once."""
        task = asyncio.create_task(self._prepare(session), name=f"prepare:{session.id}")
        self._tasks[session.id] = task
        task.add_done_callback(lambda ended: self._ended(session.id, ended))

    def seen(self, session: Session) -> tuple[bool, bool, str | None]:
        """Whether the session still has to wait, whether it was asked for, and why it waits in
        vain, if it does.

        Raises what else went wrong, once: then it can be begun again.
        """
        if session.work_group not in self._means.packages.work_groups:
            return False, False, None
        task = self._tasks.get(session.id)
        if task is None or not task.done():
            return True, task is not None, None
        if task.exception() is not None:
            del self._tasks[session.id]
        found = task.result()
        return (True, True, found) if isinstance(found, str) else (False, True, None)

    def folder(self, session_id: SessionId) -> str:
        """The folder with the session's packages, once it need not wait; empty: it has none, or
        this server has not found them (again)."""
        task = self._tasks.get(session_id)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return ""
        found = task.result()
        return str(found) if isinstance(found, Path) else ""

    def drop(self, session_id: SessionId) -> None:
        """Forget a session that needs no packages any more; a build goes on."""
        self._means.prepared.discard(session_id)
        task = self._tasks.pop(session_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Break off everything."""
        tasks = list(self._tasks.values())
        for session_id in list(self._tasks):
            self.drop(session_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._means.packages.close()

    def _ended(self, session_id: SessionId, task: asyncio.Task[Path | str]) -> None:
        if self._tasks.get(session_id) is task:
            if not task.exception() and isinstance(task.result(), Path):
                self._means.prepared.add(session_id)
            self._wake(session_id)

    async def _prepare(self, session: Session) -> Path | str:
        try:
            return await self._means.packages.provide(session.work_group, session.engine_version)
        except PackagesError as error:
            return f"The packages of its workgroup: {error}."

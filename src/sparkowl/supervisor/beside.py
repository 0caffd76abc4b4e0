"""Work that a session waits for and that takes long: it goes on beside the looks at the session.

What is known here is of this process only; a server that takes a session up begins it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sparkowl.domain.ids import SessionId

T = TypeVar("T")


class Beside(Generic[T]):
    """At most one piece of work for each session, and what became of it."""

    def __init__(self, wake: Callable[[SessionId], None]) -> None:
        """``wake`` is called when the work of a session has ended."""
        self._wake = wake
        self._tasks: dict[SessionId, asyncio.Task[T]] = {}

    def begin(self, session_id: SessionId, work: Coroutine[Any, Any, T]) -> None:
        """Returns at once."""
        task = asyncio.create_task(work, name=f"beside:{session_id}")
        self._tasks[session_id] = task
        task.add_done_callback(lambda ended: self._ended(session_id, ended))

    def begun(self, session_id: SessionId) -> bool:
        return session_id in self._tasks

    def done(self, session_id: SessionId) -> bool:
        """Whether it was begun and has ended, however."""
        task = self._tasks.get(session_id)
        return task is not None and task.done()

    def result(self, session_id: SessionId) -> T:
        """Of work that has ended. Raises what went wrong, once: then it can be begun again."""
        task = self._tasks[session_id]
        if task.exception() is not None:
            del self._tasks[session_id]
        return task.result()

    def found(self, session_id: SessionId) -> T | None:
        """What it came to; None: it has not, or something went wrong."""
        task = self._tasks.get(session_id)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    def forget(self, session_id: SessionId) -> None:
        """Let it be begun again; what goes on goes on."""
        self._tasks.pop(session_id, None)

    def drop(self, session_id: SessionId) -> None:
        """Stop it; nothing where none is under way."""
        task = self._tasks.pop(session_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop all."""
        tasks = list(self._tasks.values())
        for session_id in list(self._tasks):
            self.drop(session_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, session_id: SessionId, task: asyncio.Task[T]) -> None:
        if self._tasks.get(session_id) is task:
            self._wake(session_id)

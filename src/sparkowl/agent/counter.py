"""The agent's side of the desk: questions of the Jupyter process come in, answers go out.

What is asked is described in :mod:`.desk`, what is answered is :mod:`.clerk`'s. Jupyter talks with
browsers and is believed no more than them: frames and open questions are bounded, and a frame that
is none ends the conversation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from sparkowl.agent import cells
from sparkowl.agent.desk import LONGEST_FRAME, DeskError, decode, encode

log = logging.getLogger(__name__)

#: Every cell that may wait, and some for the rest.
_MOST_OPEN: Final = cells.MOST + 100

Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Counter:
    """One conversation, over a socket that nobody else has."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: Mapping[str, Answer],
    ) -> None:
        """``reader`` is limited to :data:`~sparkowl.agent.desk.LONGEST_FRAME`."""
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._open: set[asyncio.Task[None]] = set()

    def tell(self, what: str, **values: Any) -> None:
        self._say({"tell": what, **values})

    async def serve(self) -> None:
        """Answer until the other side is gone, or says what nobody can understand."""
        try:
            while line := await self._reader.readline():
                frame = decode(line)
                number, asked = frame["id"], str(frame["ask"])
                if len(self._open) >= _MOST_OPEN:
                    self._say(_refusal(number, DeskError(429, "Too much is asked at once.")))
                    continue
                task = asyncio.create_task(self._answer(number, asked, frame), name=asked)
                self._open.add(task)
                task.add_done_callback(self._open.discard)
        except (ValueError, KeyError, RecursionError, OSError) as error:
            log.warning("The Jupyter process was not understood: %r", error)
        finally:
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _answer(self, number: Any, asked: str, frame: Mapping[str, Any]) -> None:
        try:
            answer = self._answers.get(asked, _not_understood)
            reply = {"id": number, "answer": await answer(frame)}
        except DeskError as error:
            reply = _refusal(number, error)
        self._say(reply)
        with suppress(ConnectionError):
            await self._writer.drain()

    def _say(self, frame: dict[str, Any]) -> None:
        line = encode(frame)
        if len(line) > LONGEST_FRAME:
            line = encode(_refusal(frame.get("id"), DeskError(413, "The answer is too long.")))
        self._writer.write(line)


async def _not_understood(frame: Mapping[str, Any]) -> dict[str, Any]:
    raise DeskError(400, f"Nobody here answers {frame['ask']!r}.")


def _refusal(number: Any, error: DeskError) -> dict[str, Any]:
    return {"id": number, "error": {"status": error.status, "message": str(error)}}

"""This process's end of the desk: asks the agent, and brings each answer to who asked."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from contextlib import suppress
from typing import Any

from sparkowl.agent import desk


class Desk:
    """Inside the event loop only."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self, end: socket.socket) -> None:
        reader, self._writer = await asyncio.open_connection(sock=end, limit=desk.LONGEST_FRAME)
        self._listening = asyncio.create_task(self._listen(reader), name="desk")

    def ask(self, what: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Ask now; the answer comes with the future, or a :class:`desk.DeskError`.

        Sent before this returns: who asks first is asked for first.
        """
        assert self._writer is not None, "nobody has opened the desk"
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(desk.encode({"id": number, "ask": what} | fields))
        return answer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError, LookupError, TypeError):
            while line := await reader.readline():
                self._hear(desk.decode(line))
        # The agent is gone, or what it says makes no sense: there is no session to serve.
        os._exit(0)

    def _hear(self, frame: dict[str, Any]) -> None:
        answer = self._asked.pop(frame.get("id", 0), None)
        if answer is None or answer.done():
            return
        if (error := frame.get("error")) is not None:
            answer.set_exception(desk.DeskError(error["status"], error["message"]))
        else:
            answer.set_result(frame["answer"])

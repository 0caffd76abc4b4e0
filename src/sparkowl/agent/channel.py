"""The conversation with the kernel: run a block, hear what it says until it is idle again.

Jupyter's messages and nothing more; what they mean for a calculation is :mod:`.runner`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from jupyter_client.asynchronous.client import AsyncKernelClient

log = logging.getLogger(__name__)

Hear = Callable[[str, dict[str, Any]], None]
#: The kernel greets a new subscriber; without the greeting the first outputs could be missed.
_GREETING_TIMEOUT_S: Final = 10.0
#: The reply is sent before the kernel says that it is idle; when it does not come now, it never
#: will. User code can break the kernel in more ways than can be thought of.
_REPLY_WITHIN_S: Final = 5.0
#: Somebody else's message that may be sent now is at the kernel in milliseconds.
_SENT_WITHIN_S: Final = 10.0
_NO_REPLY: Final = {
    "status": "error",
    "ename": "NoReply",
    "evalue": "The Python kernel ended the block without a result: the block broke it.",
}

#: User code holds the kernel's key, and can send anything at all.
_MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError)


class Channel:
    def __init__(self, connection_file: Path) -> None:
        self._client = AsyncKernelClient()
        self._client.load_connection_file(str(connection_file))
        self._listeners: dict[str, tuple[Hear, asyncio.Event]] = {}
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        #: By the kernel's last word, nobody has anything running in it.
        self.quiet = True

    async def open(self) -> None:
        # No heartbeat: the process is watched itself, and a busy kernel is not a dead one.
        self._client.start_channels(stdin=False, hb=False, control=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GREETING_TIMEOUT_S):
                while (await self._client.get_iopub_msg())["msg_type"] != "iopub_welcome":
                    pass
        self._tasks = [
            asyncio.create_task(self._route_outputs(), name="kernel outputs"),
            asyncio.create_task(self._route_replies(), name="kernel replies"),
        ]

    async def execute(self, code: str, hear: Hear) -> dict[str, Any]:
        """Run a block; the reply's content, once everything it said was heard."""
        message_id: str = self._client.execute(
            # Nothing to ask: there is nobody at a keyboard.
            code,
            store_history=False,
            allow_stdin=False,
            stop_on_error=False,
        )
        idle = asyncio.Event()
        reply = asyncio.get_running_loop().create_future()
        self._listeners[message_id] = hear, idle
        self._replies[message_id] = reply
        try:
            await idle.wait()
            async with asyncio.timeout(_REPLY_WITHIN_S):
                content: dict[str, Any] = await reply
                return content
        except TimeoutError:
            return dict(_NO_REPLY)
        finally:
            del self._listeners[message_id]
            del self._replies[message_id]

    async def overhear(self, message_id: str, hear: Hear, send: Callable[[], None]) -> bool:
        """Listen to what the kernel says to a message that somebody else sends it, at ``send``.

        Its reply is for the sender alone. True once everything was heard; False when the message
        never comes: the kernel waits for work, and ``send`` is long over.
        """
        begun, idle = asyncio.Event(), asyncio.Event()

        def hear_and_note(kind: str, content: dict[str, Any]) -> None:
            begun.set()
            hear(kind, content)

        self._listeners[message_id] = hear_and_note, idle
        try:
            send()
            while not begun.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SENT_WITHIN_S):
                        await begun.wait()
                # Else it works for the page in another way, a widget's say, and the message waits.
                if self.quiet and not begun.is_set():
                    return False
            await idle.wait()
        finally:
            del self._listeners[message_id]
        return True

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._client.stop_channels()

    async def _route_outputs(self) -> None:
        while True:
            message = await self._receive(self._client.get_iopub_msg)
            if message["msg_type"] == "status":
                self.quiet = message["content"].get("execution_state") == "idle"
            listener = self._listeners.get(message["parent_header"].get("msg_id", ""))
            # None: a thread of an earlier block still speaks, or the kernel speaks of itself.
            if listener is None:
                continue
            hear, idle = listener
            try:
                hear(message["msg_type"], message["content"])
                if message["content"].get("execution_state") == "idle":
                    idle.set()
            except _MALFORMED:
                log.warning("A message from the kernel was not understood.", exc_info=True)

    async def _route_replies(self) -> None:
        while True:
            message = await self._receive(self._client.get_shell_msg)
            reply = self._replies.get(message["parent_header"].get("msg_id", ""))
            if reply is not None and not reply.done():
                reply.set_result(message["content"])

    async def _receive(self, source: Callable[[], Any]) -> dict[str, Any]:
        while True:
            try:
                message: dict[str, Any] = await source()
            except _MALFORMED:
                log.warning("A message from the kernel was not understood.", exc_info=True)
            else:
                return message

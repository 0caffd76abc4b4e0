"""What front ends have asked and not been answered yet, and the answers that are ours to give.

The session's kernel answers nearly everything. Where it cannot (there is no session yet, or no
more), the person at the notebook must read why, below the cell that waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sparkowl import __version__
from sparkowl.relay.messages import Message
from sparkowl.relay.sockets import Sockets

log = logging.getLogger(__name__)

#: Errors of ours have this name before their text.
OURS: Final = "SparkOwl"
_EXECUTE: Final = "execute_request"
_INFO: Final = "kernel_info_request"
_SUFFIX: Final = "_request"
#: Far more than a person asks for; a front end that runs wild must not take all memory.
_MOST: Final = 10_000
#: The server closes the connection on a longer one; a little is left for the frame around it.
_LONGEST_BYTES: Final = 15 << 20
#: What every session's kernel is, as far as a front end must know to begin.
_KERNEL: Final[dict[str, Any]] = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "sparkowl",
    "implementation_version": __version__,
    "language_info": {
        "name": "python",
        "version": "3",
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    },
    "banner": f"SparkOwl {__version__}",
    "help_links": [],
}


@dataclass(slots=True)
class Asked:
    """A request that waits for its answer."""

    way_back: list[bytes]
    message: Message
    #: The session's kernel has it.
    sent: bool = False

    @property
    def loud(self) -> bool:
        """Whether it runs code that a person sees the output of."""
        return self.message.kind == _EXECUTE and not self.message.content.get("silent")


class Requests:
    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._waiting: dict[str, Asked] = {}

    async def add(self, way_back: list[bytes], message: Message) -> bool:
        """Remember the way back of its answer; False when it was refused at once."""
        asked = Asked(way_back, message)
        if not message.kind.endswith(_SUFFIX):
            return True
        if sum(len(part) for part in message.parts) > _LONGEST_BYTES:
            await self._refuse(asked, OURS, f"A message may be {_LONGEST_BYTES >> 20} MiB long.")
            return False
        if len(self._waiting) >= _MOST and not self._forget_one():
            await self._refuse(asked, OURS, f"{_MOST} cells are waiting already.")
            return False
        self._waiting[message.id] = asked
        return True

    def _forget_one(self) -> bool:
        """Some requests, such as of extensions that ask what the kernel uses, nobody answers."""
        for asked in self._waiting.values():
            if asked.sent and asked.message.kind != _EXECUTE:
                del self._waiting[asked.message.id]
                return True
        return False

    def find(self, message: Message) -> Asked | None:
        """The request that a message is, while it waits."""
        return self._waiting.get(message.id)

    def sent(self) -> set[str]:
        return {id for id, asked in self._waiting.items() if asked.sent}

    @property
    def runs(self) -> bool:
        """Whether the session's kernel has a cell that it has not answered."""
        return any(asked.sent and asked.loud for asked in self._waiting.values())

    async def pass_on(self, message: Message) -> None:
        """Give the front ends a message of the session's kernel."""
        if message.channel == "iopub":
            stream = str(message.content.get("name", "")) if message.kind == "stream" else ""
            await self._sockets.publish(message.kind, message.parts, stream)
        elif message.channel == "stdin":
            # The kernel asks back; whoever ran the cell is asked, on their own socket for that.
            asked = self._waiting.get(message.parent_id)
            if asked is not None:
                await self._sockets.answer("stdin", asked.way_back, message.parts)
        elif message.channel in {"shell", "control"}:
            asked = self._waiting.pop(message.parent_id, None)
            if asked is not None:
                channel = asked.message.channel
                await self._sockets.answer(channel, asked.way_back, message.parts)
        else:
            log.warning("There is no channel %r.", message.channel[:40])

    async def reply(self, asked: Asked, content: dict[str, Any]) -> None:
        """Answer in the kernel's place."""
        self._waiting.pop(asked.message.id, None)
        kind = asked.message.kind.removesuffix(_SUFFIX) + "_reply"
        parts = self._sockets.parts(kind, asked.message.header, content)
        await self._sockets.answer(asked.message.channel, asked.way_back, parts)

    async def introduce(self) -> None:
        """Say what the kernel is to whoever has asked, so that the front end begins."""
        for asked in list(self._waiting.values()):
            if asked.message.kind == _INFO:
                await self._refuse(asked, OURS, "")

    async def refuse(
        self, name: str, reason: str, which: Callable[[Asked], bool] = lambda _: True
    ) -> None:
        """Answer what waits with an error."""
        for asked in list(filter(which, self._waiting.values())):
            await self._refuse(asked, name, reason)

    async def refuse_one(self, way_back: list[bytes], message: Message, reason: str) -> None:
        """Answer a request that has just come with an error."""
        if message.kind.endswith(_SUFFIX):
            await self._refuse(Asked(way_back, message), OURS, reason)

    async def _refuse(self, asked: Asked, name: str, reason: str) -> None:
        header = asked.message.header
        error = {
            "ename": name,
            "evalue": reason,
            "traceback": [f"{name}: {reason}" if reason else name],
        }
        await self._publish("status", header, {"execution_state": "busy"})
        if asked.message.kind == _INFO:
            await self.reply(asked, _KERNEL)
        else:
            if asked.loud:
                await self._publish("error", header, error)
            await self.reply(asked, {"status": "error", "execution_count": 0, **error})
        await self._publish("status", header, {"execution_state": "idle"})

    async def tell(self, text: str) -> None:
        """Show a line below the cell that waits longest, if one does."""
        for asked in self._waiting.values():
            if asked.loud:
                await self.show(asked, text)
                return

    async def show(self, asked: Asked, text: str) -> None:
        """Show a line below a cell, as if the cell had written it to stderr."""
        content = {"name": "stderr", "text": f"{text}\n"}
        parts = self._sockets.parts("stream", asked.message.header, content)
        await self._sockets.publish("stream", parts, "stderr")

    async def _publish(self, kind: str, parent: dict[str, Any], content: dict[str, Any]) -> None:
        await self._sockets.publish(kind, self._sockets.parts(kind, parent, content))

    async def state(self, state: str) -> None:
        """Say what the kernel does, to everybody."""
        await self._publish("status", {}, {"execution_state": state})

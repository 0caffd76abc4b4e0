"""Jupyter's messages on their way through: kept as the bytes they came as.

Only header and parent are looked at. Content and buffers are passed on unread, so nothing is lost
on the way, and nothing in them can do harm here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

#: The WebSocket's protocol: the parts of a message as they are, after a table of where each begins.
#: https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
SUBPROTOCOL: Final = "v1.kernel.websocket.jupyter.org"
#: Header, parent header, metadata, content; buffers come after these.
PARTS: Final = 4
#: More parts than any message has: a table that says so is none.
_MOST_PARTS: Final = 10_000


class BadMessage(ValueError):
    """This is no message. The text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``parts`` are its header, parent, metadata, content and buffers, as bytes."""

    channel: str
    parts: list[bytes]
    header: dict[str, Any]
    parent: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.header["msg_type"])

    @property
    def id(self) -> str:
        return str(self.header["msg_id"])

    @property
    def parent_id(self) -> str:
        return str(self.parent.get("msg_id", ""))

    @property
    def content(self) -> dict[str, Any]:
        """The content, read; empty where it is no object."""
        return _object(self.parts[3], or_else={})


def message(channel: str, parts: list[bytes]) -> Message:
    """The message that these parts are; :class:`BadMessage` for what is none."""
    if len(parts) < PARTS:
        raise BadMessage(f"a message has {PARTS} parts at least, not {len(parts)}")
    header = _object(parts[0])
    if not isinstance(header.get("msg_id"), str) or not isinstance(header.get("msg_type"), str):
        raise BadMessage("a header names msg_id and msg_type")
    return Message(channel, parts, header, _object(parts[1]))


def _object(part: bytes, or_else: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        found = json.loads(part)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if or_else is not None:
        return or_else
    raise BadMessage("a header is a JSON object")


def to_frame(sent: Message) -> bytes:
    """The message as one frame of the WebSocket."""
    pieces = [sent.channel.encode(), *sent.parts]
    at = 8 * (len(pieces) + 2)
    offsets = [at]
    for piece in pieces:
        offsets.append(offsets[-1] + len(piece))
    numbers = (len(offsets), *offsets)
    return b"".join([*(number.to_bytes(8, "little") for number in numbers), *pieces])


def from_frame(frame: bytes | str) -> Message:
    """The message in a frame; :class:`BadMessage` for what is none."""
    if isinstance(frame, str):
        raise BadMessage("a frame is binary")
    count = int.from_bytes(frame[:8], "little")
    if not 2 <= count <= _MOST_PARTS or len(frame) < 8 * (count + 1):
        raise BadMessage("a frame begins with a table of its parts")
    offsets = [int.from_bytes(frame[8 * i : 8 * i + 8], "little") for i in range(1, count + 1)]
    rising = all(before <= after for before, after in pairwise(offsets))
    if not rising or offsets[0] != 8 * (count + 1) or offsets[-1] > len(frame):
        raise BadMessage("the parts of a frame come one after the other")
    pieces = [frame[a:b] for a, b in pairwise(offsets)]
    return message(pieces[0].decode(errors="replace"), pieces[1:])

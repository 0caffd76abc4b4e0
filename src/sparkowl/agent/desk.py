"""What the agent and the session's Jupyter process say to each other.

They share a socket pair that has no name, so nobody else can join. Each frame is one line of JSON.
Jupyter asks (``{"id": 7, "ask": "cell", …}``) and is answered, in whatever order the answers are
ready (``{"id": 7, "answer": {…}}`` or ``{"id": 7, "error": {"status": 503, "message": "…"}}``).
The agent tells (``{"tell": "serve", …}``), which has no answer.

Asked:

``cell``
    ``msg_id``, ``client`` (the page's session), ``code``, ``stop_on_error``: the page wants to run
    this. The answer comes when it may: ``{"run": true}``, and then Jupyter sends the page's own
    message on to the kernel; or ``{"run": false}``, as one before it failed or it was canceled; an
    error where the server refuses it.
``interrupt``
    What runs shall stop. ``{}`` once the kernel has its signal.
``restart``
    ``{}`` once another kernel is up; its connection file has taken the old one's place.
``notebook``
    ``{"name", "payload", "modified_at", "version"}``: the last saved content.
``save``
    ``payload``: ``{"modified_at", "version"}``. The last save wins; the server keeps each.
``progress``
    ``{"running": null}``, or ``{"running": {"calculation_id", "msg_id", "percent", "stages":
    [{"id", "name", "done", "tasks"}]}}``; ``msg_id`` is null for a calculation of the API.

Told:

``serve``
    ``base_url``, ``token``, ``notebook`` (file name), ``connection_file``: serve this session. The
    first thing told, and once.
"""

from __future__ import annotations

import json
from typing import Any, Final

#: A frame is at most this long: a notebook of 10 MiB, as JSON within JSON.
LONGEST_FRAME: Final = 32 << 20


class DeskError(Exception):
    """The other side could not do what it was asked. ``status`` is an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def encode(frame: dict[str, Any]) -> bytes:
    return json.dumps(frame).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The frame in a line; ValueError for what is none."""
    frame = json.loads(line)
    if not isinstance(frame, dict):
        raise ValueError("a frame is an object")  # noqa: TRY004 - a wrong value, not a wrong type
    return frame

"""A notebook of a workgroup: its name, its content, and which is valid.

A notebook's content is an .ipynb (nbformat 4) as text. Every save makes a version; what is read is
the last one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sparkowl.domain import ipynb
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, SessionId

#: Athena's ``NotebookType``; the only one.
IPYNB: Final = "IPYNB"
#: Athena's limit on a notebook, in bytes of UTF-8.
LARGEST: Final = 10_485_760
#: Accepted as NotebookVersion: today's name, and the first API's.
NOTEBOOK_VERSIONS: Final = ("Athena notebook version 1", "Jupyter1.0")

#: In characters; Athena's limit.
LONGEST_NAME: Final = 255
#: What a notebook's name is given without.
SUFFIX: Final = ".ipynb"

_NAME: Final = re.compile(r"[^/:\\]{1,255}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """One row of ``notebooks``: everything but the content."""

    id: NotebookId
    work_group: str
    #: Without ``.ipynb``; unique in its workgroup.
    name: str
    created_at: datetime
    modified_at: datetime
    #: The number of its last version, from 1.
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One save. ``session_id``: saved from that session's page; else by a call."""

    number: int
    payload: str
    saved_at: datetime
    session_id: SessionId | None = None
    principal: str | None = None


def require_name(name: str, member: str = "Name") -> None:
    """Raise :class:`InvalidRequest` for a name that Athena refuses."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"{member}: a notebook's name has 1 to {LONGEST_NAME} characters, and no '/', ':' or "
            "'\\'."
        )
    if name.lower().endswith(SUFFIX):
        raise InvalidRequest(f"{member}: a notebook's name is given without {SUFFIX}.")


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the first of ``name (2)``, ``name (3)``, ... that is not taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        more = f" ({number})"
        found = name[: LONGEST_NAME - len(more)] + more
    return found


def require_payload(payload: str | bytes, member: str) -> str:
    """The content as text; :class:`InvalidRequest` unless it is an .ipynb that Athena would take.

    ``member`` names what is at fault in the error: a request's member, or a URI. Takes a tenth
    of a second for the largest: not for the event loop.
    """
    size = len(payload) if isinstance(payload, bytes) else len(payload.encode())
    require_size(size, member)
    try:
        text = payload if isinstance(payload, str) else payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{member} is not a notebook: it is not UTF-8.") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{member} is not a notebook: it is not JSON.") from None
    why = ipynb.fault(content)
    if why is not None:
        raise InvalidRequest(f"{member} is not a valid notebook: {why}.")
    return text


def require_size(size_bytes: int, member: str) -> None:
    """Raise :class:`InvalidRequest` for more than a notebook may have."""
    if size_bytes > LARGEST:
        raise InvalidRequest(f"{member}: a notebook has at most {LARGEST} bytes; got {size_bytes}.")


def jupyter_base(session_id: str) -> str:
    """The path under which a session's Jupyter server is reached."""
    return f"/notebooks/{session_id}/"


def unsaved_name(session_id: str) -> str:
    """What the notebook is called, and will be, of a session that was asked for none."""
    return f"notebook-{session_id}"


def empty() -> str:
    """The content of a notebook that was just created."""
    return json.dumps(_empty())


def _empty() -> dict[str, Any]:
    return {
        "cells": [],
        "metadata": {
            "kernelspec": {"display_name": "SparkOwl", "language": "python", "name": "sparkowl"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }

"""Why a session ended or is unwell: a fixed sentence, a short code, and what happened.

Athena has only its two sentences, also after an idle timeout. They stay the first part, since
clients know them; the code behind tells programs what people can read in the rest:
``Session was terminated per request [IDLE] Nothing ran in it for 20 minutes.``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

TERMINATED: Final = "Session was terminated per request"
UNHEALTHY: Final = "Session in unhealthy state. Please create a new session"
#: Ours: where a start fails, Athena's texts differ with what was wrong.
NOT_STARTED: Final = "Session failed to start"


class Code(StrEnum):
    """Who or what ended it."""

    #: Nothing ran in it for as long as it may rest.
    IDLE = "IDLE"
    #: Somebody asked for it, or the session's own code or settings did it.
    USER = "USER"
    #: The driver used more memory than it may.
    MEMORY = "MEMORY"
    #: A process of the driver died, hung, or never came up.
    CRASH = "CRASH"
    #: A budget or a limit.
    QUOTA = "QUOTA"
    #: The server: it stopped, lost the driver, or could not start one.
    SERVER = "SERVER"


_SENTENCES: Final[Mapping[Code, str]] = {
    Code.IDLE: TERMINATED,
    Code.USER: TERMINATED,
    Code.MEMORY: UNHEALTHY,
    Code.CRASH: UNHEALTHY,
    Code.QUOTA: TERMINATED,
    Code.SERVER: UNHEALTHY,
}


def explain(code: Code, detail: str = "", *, sentence: str | None = None) -> str:
    """The whole reason; ``sentence`` where it is not the one that usually goes with the code."""
    return f"{sentence or _SENTENCES[code]} [{code}] {detail}".rstrip()


_CODED: Final = re.compile(rf"\[(?P<code>{'|'.join(Code)})\]")


def code_in(reason: str | None) -> Code | None:
    """The code that a reason carries; None for one that carries none."""
    found = _CODED.search(reason or "")
    return Code(found["code"]) if found else None


def code_of(name: str | None, default: Code = Code.CRASH) -> Code:
    """The code of this name. What an agent of another version calls something else is a crash."""
    return Code.__members__.get(name or "", default)

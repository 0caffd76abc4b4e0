"""A cell that a session's page wants to run: how it becomes a calculation.

A calculation of the API is refused while another is unfinished; a cell waits behind it, as the page
has promised its user. So a session has at most one unfinished calculation of the API, and any
number of cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sparkowl.domain.calculation import Calculation, State
from sparkowl.domain.ids import CalculationId
from sparkowl.domain.session import Event, Session
from sparkowl.domain.session import State as SessionState

#: What Athena's own kernel sends.
DESCRIPTION: Final = "Calculation started via Jupyter notebook"
#: In characters. The 68,000 of StartCalculationExecution are its request's; a page knows no limit,
#: and cells with data or pictures in them are usual.
LONGEST: Final = 1 << 20

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What a cell does to its session, by state. In those that are not here there is no page yet, or
#: none any more.
_ARRIVES: Final[Mapping[SessionState, Event | None]] = {
    SessionState.CREATED: Event.WORK_STARTED,
    SessionState.IDLE: Event.WORK_STARTED,
    SessionState.BUSY: None,
    # It becomes BUSY when its agent is seen to be back.
    SessionState.DEGRADED: None,
}


def is_id(text: str) -> bool:
    """Whether the agent's id can be a calculation's."""
    return _ID.fullmatch(text) is not None


def has_page(session: Session) -> bool:
    """Whether cells can come from the session now."""
    return session.state in _ARRIVES


def arrival(session: Session) -> Event | None:
    """What its cell is to the session; None: nothing that changes it."""
    return _ARRIVES[session.state]


def too_long(code: str) -> str | None:
    """Why the cell cannot run; None: it is short enough."""
    # Not how long it is: its agent may have sent only the beginning.
    return f"A cell has at most {LONGEST} characters." if len(code) > LONGEST else None


def calculation_of(
    session: Session,
    calculation_id: CalculationId,
    code: str,
    *,
    told_at: datetime,
    latest: datetime | None,
) -> Calculation:
    """The calculation of a cell: submitted when the agent says, and after the session's ``latest``
    one: they run, and are listed, in the order in which they came."""
    submitted_at = told_at
    if latest is not None:
        submitted_at = max(told_at, latest + timedelta(microseconds=1))
    return Calculation(
        id=calculation_id,
        session_id=session.id,
        state=State.CREATING,
        description=DESCRIPTION,
        code=code[:LONGEST],
        output_location=f"{session.working_directory}/{calculation_id}",
        submitted_at=submitted_at,
    )

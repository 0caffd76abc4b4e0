"""A calculation: one block of code in a session. Its states and what may happen to it.

What should be done about a calculation is decided with its session, in
:mod:`sparkowl.domain.step`: a session runs one calculation at a time. Only cells of its page
wait behind another (:mod:`sparkowl.domain.cell`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from sparkowl.domain.errors import IllegalTransition
from sparkowl.domain.ids import CalculationId, SessionId

RESULT_TYPE: Final = "application/vnd.aws.athena.v1+json"
#: The objects of a calculation; all three exist in every terminal state.
OUTPUT_NAMES: Final = ("stdout", "stderr", "result.json")

SESSION_TERMINATED_REASON: Final = "Calculation was canceled because its session was terminated."
CANCELED_REASON: Final = "Calculation was canceled per request."

_REASON_LENGTH: Final = 1024


class State(StrEnum):
    """Athena's ``CalculationExecutionState``."""

    CREATING = "CREATING"
    CREATED = "CREATED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


TERMINAL: Final = frozenset({State.CANCELED, State.COMPLETED, State.FAILED})


class Event(StrEnum):
    """Facts, in the past tense."""

    #: Given to the driver's agent.
    SUBMITTED = "SUBMITTED"
    #: The driver has it, and something else runs there first.
    QUEUED = "QUEUED"
    STARTED = "STARTED"
    CANCEL_ASKED = "CANCEL_ASKED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


_ENDS: Final = {
    Event.COMPLETED: State.COMPLETED,
    Event.FAILED: State.FAILED,
    Event.CANCELED: State.CANCELED,
}
_STAYS_COMPLETED: Final = dict.fromkeys(Event, State.COMPLETED)
_STAYS_FAILED: Final = dict.fromkeys(Event, State.FAILED)
_STAYS_CANCELED: Final = dict.fromkeys(Event, State.CANCELED)

# Facts of one block may be written in another order than they happened (the supervisor writes
# SUBMITTED while the agent already reports STARTED), so later states foresee the earlier facts.
TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.CREATING: _ENDS
    | {
        Event.SUBMITTED: State.CREATED,
        Event.QUEUED: State.QUEUED,
        Event.STARTED: State.RUNNING,
        Event.CANCEL_ASKED: State.CANCELING,
    },
    State.CREATED: _ENDS
    | {
        Event.SUBMITTED: State.CREATED,
        Event.QUEUED: State.QUEUED,
        Event.STARTED: State.RUNNING,
        Event.CANCEL_ASKED: State.CANCELING,
    },
    State.QUEUED: _ENDS
    | {
        Event.SUBMITTED: State.QUEUED,
        Event.QUEUED: State.QUEUED,
        Event.STARTED: State.RUNNING,
        Event.CANCEL_ASKED: State.CANCELING,
    },
    State.RUNNING: _ENDS
    | {
        Event.SUBMITTED: State.RUNNING,
        Event.QUEUED: State.RUNNING,
        Event.STARTED: State.RUNNING,
        Event.CANCEL_ASKED: State.CANCELING,
    },
    # A block that was faster than its cancellation ends as what it was.
    State.CANCELING: _ENDS
    | {
        Event.SUBMITTED: State.CANCELING,
        Event.QUEUED: State.CANCELING,
        Event.STARTED: State.CANCELING,
        Event.CANCEL_ASKED: State.CANCELING,
    },
    State.CANCELED: _STAYS_CANCELED,
    State.COMPLETED: _STAYS_COMPLETED,
    State.FAILED: _STAYS_FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """One row of ``calculations``. ``version`` grows with every change (compare-and-set)."""

    id: CalculationId
    session_id: SessionId
    state: State
    description: str | None
    code: str
    #: ``s3://bucket/prefix/<session>/<calculation>``: the folder of its three objects.
    output_location: str
    submitted_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    reason: str | None = None
    #: Percent of its Spark jobs' tasks; 100 when completed.
    progress: int = 0
    version: int = 1

    def output(self, name: str) -> str:
        """The S3 URI of one of :data:`OUTPUT_NAMES`."""
        return f"{self.output_location}/{name}"


def apply(
    calculation: Calculation, event: Event, *, at: datetime, reason: str | None = None
) -> Calculation:
    """The calculation after ``event``; the same object when the event changes nothing.

    A reason is kept for FAILED and CANCELED only: clients take one on COMPLETED for an error. And
    for CANCELING, where one is given when it is known already why it will have failed.
    """
    state = TRANSITIONS[calculation.state].get(event)
    if state is None:
        raise IllegalTransition(f"calculation {calculation.id}: {event} in {calculation.state}")
    if state is calculation.state:
        return calculation
    why = (reason or "Unknown.") if state in {State.FAILED, State.CANCELED} else None
    if state is State.CANCELING:
        why = reason
    return replace(
        calculation,
        state=state,
        started_at=at if event is Event.STARTED else calculation.started_at,
        completed_at=at if state in TERMINAL else None,
        reason=why and why[:_REASON_LENGTH],
        progress=100 if state is State.COMPLETED else calculation.progress,
        version=calculation.version + 1,
    )

"""A session: its states, and what may happen to it.

:func:`apply` changes the state; what should be done about it next is decided in
:mod:`sparkowl.domain.step`. There are no states but Athena's public ones. What looks like a
sub-state is a fact beside the state: "CREATING without a driver" is a session that must be
launched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sparkowl.domain import encryption, engine, opening
from sparkowl.domain.calculation import (
    CANCELED_REASON,
    SESSION_TERMINATED_REASON,
    Calculation,
)
from sparkowl.domain.calculation import Event as CalculationEvent
from sparkowl.domain.calculation import State as CalculationState
from sparkowl.domain.encryption import Encryption
from sparkowl.domain.errors import IllegalTransition, InvalidRequest
from sparkowl.domain.ids import NotebookId, ServerId, SessionId
from sparkowl.domain.reason import Code, code_in, explain

#: ``StateChangeReason`` holds at most this many characters (Athena's DescriptionString).
REASON_LENGTH: Final = 1024


class State(StrEnum):
    """Athena's ``SessionState``."""

    CREATING = "CREATING"
    CREATED = "CREATED"
    IDLE = "IDLE"
    BUSY = "BUSY"
    DEGRADED = "DEGRADED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"


TERMINAL: Final = frozenset({State.TERMINATED, State.FAILED})
#: What ListSessions shows when no state is asked for.
ACTIVE: Final = frozenset({State.CREATING, State.CREATED, State.IDLE, State.BUSY, State.DEGRADED})


class Event(StrEnum):
    """Facts, in the past tense."""

    DRIVER_READY = "DRIVER_READY"
    ADOPTED = "ADOPTED"
    START_FAILED = "START_FAILED"
    WORK_STARTED = "WORK_STARTED"
    WORK_ENDED = "WORK_ENDED"
    #: Somebody wants it to stay: its idle time begins anew.
    EXTENDED = "EXTENDED"
    IDLE_TIMED_OUT = "IDLE_TIMED_OUT"
    TERMINATE_ASKED = "TERMINATE_ASKED"
    AGENT_SILENT = "AGENT_SILENT"
    AGENT_BACK = "AGENT_BACK"
    AGENT_BACK_BUSY = "AGENT_BACK_BUSY"
    DRIVER_LOST = "DRIVER_LOST"
    DRIVER_GONE = "DRIVER_GONE"


#: Nothing is impossible to hear once a session is ending: facts arrive late and change nothing.
_STAYS_TERMINATING: Final = dict.fromkeys(Event, State.TERMINATING)
_STAYS_TERMINATED: Final = dict.fromkeys(Event, State.TERMINATED)
_STAYS_FAILED: Final = dict.fromkeys(Event, State.FAILED)

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.CREATING: {
        Event.DRIVER_READY: State.CREATED,
        Event.EXTENDED: State.CREATING,
        Event.START_FAILED: State.FAILED,
        Event.DRIVER_LOST: State.FAILED,
        Event.TERMINATE_ASKED: State.TERMINATING,
    },
    State.CREATED: {
        Event.ADOPTED: State.IDLE,
        # Some clients take CREATED for ready; their calculation waits for the adoption.
        Event.WORK_STARTED: State.BUSY,
        Event.EXTENDED: State.CREATED,
        Event.START_FAILED: State.FAILED,
        Event.DRIVER_LOST: State.FAILED,
        Event.TERMINATE_ASKED: State.TERMINATING,
    },
    State.IDLE: {
        Event.ADOPTED: State.IDLE,
        Event.WORK_STARTED: State.BUSY,
        Event.WORK_ENDED: State.IDLE,
        # The only event that changes a session and not its state.
        Event.EXTENDED: State.IDLE,
        Event.IDLE_TIMED_OUT: State.TERMINATING,
        Event.TERMINATE_ASKED: State.TERMINATING,
        Event.AGENT_SILENT: State.DEGRADED,
        Event.DRIVER_LOST: State.FAILED,
    },
    State.BUSY: {
        Event.ADOPTED: State.BUSY,
        # A calculation that came while it was CREATED, and its notebook does not come.
        Event.START_FAILED: State.FAILED,
        Event.WORK_ENDED: State.IDLE,
        Event.EXTENDED: State.BUSY,
        Event.TERMINATE_ASKED: State.TERMINATING,
        Event.AGENT_SILENT: State.DEGRADED,
        Event.DRIVER_LOST: State.FAILED,
    },
    State.DEGRADED: {
        Event.ADOPTED: State.DEGRADED,
        Event.WORK_ENDED: State.DEGRADED,
        Event.EXTENDED: State.DEGRADED,
        Event.AGENT_BACK: State.IDLE,
        Event.AGENT_BACK_BUSY: State.BUSY,
        Event.TERMINATE_ASKED: State.TERMINATING,
        Event.DRIVER_LOST: State.FAILED,
    },
    State.TERMINATING: _STAYS_TERMINATING | {Event.DRIVER_GONE: State.TERMINATED},
    State.TERMINATED: _STAYS_TERMINATED,
    State.FAILED: _STAYS_FAILED,
}


#: In the start timeline: when a notebook that had to be fetched was there.
NOTEBOOK_CAME: Final = "notebook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One row of ``sessions``. ``version`` grows with every change (compare-and-set)."""

    id: SessionId
    work_group: str
    state: State
    engine_version: str
    description: str | None
    #: Members of StartSession that are only read back: EngineConfiguration, NotebookVersion, ...
    request: Mapping[str, Any]
    idle_timeout: timedelta
    #: ``s3://bucket/prefix`` without a final slash; outputs lie under ``<it>/<session id>/``.
    output_location: str
    created_at: datetime
    modified_at: datetime
    #: When the driver became the session's: DPU time counts from here.
    active_at: datetime | None = None
    idle_since: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    #: The start timeline: mark to seconds since the epoch, and ``warm`` or why it was cold.
    timeline: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    #: Whose key started it; None for sessions older than principals.
    principal: str | None = None
    #: Which server looks after it. None for one that no server has yet; the next look gives it one.
    server: ServerId | None = None
    #: The notebook of its workgroup that its Jupyter server opens.
    notebook_id: NotebookId | None = None

    @property
    def has_jupyter(self) -> bool:
        """Whether a Jupyter server runs beside its kernel: it was asked for a NotebookVersion."""
        return "NotebookVersion" in self.request

    @property
    def awaited_file(self) -> str | None:
        """The URI of a file on the web that is to become its notebook, and has not yet."""
        if self.notebook_id is not None or not self.has_jupyter:
            return None
        return opening.web_file(self.request)

    @property
    def execution_role(self) -> str | None:
        """The ARN that was asked for, or that its workgroup gave it."""
        return self.request.get("ExecutionRole") or None

    @property
    def encryption(self) -> Encryption | None:
        """How its outputs are encrypted, as its workgroup had it when it started."""
        return encryption.of(self.request.get("EncryptionConfiguration"))

    @property
    def working_directory(self) -> str:
        return f"{self.output_location}/{self.id}"

    @property
    def warehouse(self) -> str:
        """Where databases of the shared catalogue land that name no location."""
        return f"{self.output_location}/warehouse"

    @property
    def spark_properties(self) -> Mapping[str, str]:
        """What the caller and the workgroup set, from both places that Athena's engines know."""
        return engine.spark_properties(self.request.get("EngineConfiguration", {}))


def apply(session: Session, event: Event, *, at: datetime, reason: str | None = None) -> Session:
    """The session after ``event``; the same object when the event changes nothing.

    Raises :class:`IllegalTransition` for an event that the table does not foresee.
    """
    state = TRANSITIONS[session.state].get(event)
    if state is None:
        raise IllegalTransition(f"session {session.id}: {event} in {session.state}")
    if state is session.state:
        if event is Event.EXTENDED and state is State.IDLE:
            return replace(session, idle_since=at, modified_at=at, version=session.version + 1)
        return session
    active = state in {State.CREATED, State.IDLE}
    return replace(
        session,
        state=state,
        modified_at=at,
        active_at=at if session.active_at is None and active else session.active_at,
        idle_since=at if state is State.IDLE else None,
        ended_at=at if state in TERMINAL else None,
        reason=_reason(session, state, reason),
        version=session.version + 1,
    )


def _reason(session: Session, state: State, reason: str | None) -> str | None:
    """Why the session is in ``state``. An ending keeps the reason that it began with; a session
    that recovered has none any more. One that failed says where more can be found."""
    if state is State.FAILED:
        more = f" Diagnose it with: sparkowl sessions diagnose {session.id}"
        why = reason or explain(Code.CRASH)
        return why[: REASON_LENGTH - len(more)].rstrip() + more
    if reason:
        return reason[:REASON_LENGTH]
    return session.reason if state in TERMINAL else None


def created_warm(session: Session, *, at: datetime) -> Session:
    """A new session that found a warm driver: it begins as CREATED."""
    return replace(session, state=State.CREATED, active_at=at, timeline=warm(session))


def warm(session: Session) -> dict[str, Any]:
    """The start timeline of a session that was given a warm driver."""
    return {**session.timeline, "warm": True}


def created_cold(session: Session, *, why: str) -> Session:
    """A new session that needs a driver of its own; ``why`` goes into its start timeline."""
    return replace(session, timeline={**session.timeline, "warm": False, "why": why})


def stops_at(session: Session) -> datetime | None:
    """When it ends if nothing runs in it until then; None: it is not idle."""
    return None if session.idle_since is None else session.idle_since + session.idle_timeout


def queued_reason(place: int, length: int, *, packages: bool = False) -> str:
    """The StateChangeReason of a session that waits for a driver of its own. ``packages``: its
    workgroup has some, which are looked at first, and built if need be."""
    for_what = "the packages of its workgroup, or for capacity" if packages else "capacity"
    return f"Session waits for {for_what}: place {place} of {length} in the queue."


def how_canceled(
    session: Session, calculation: Calculation, told: str = ""
) -> tuple[CalculationEvent, str]:
    """What has happened to a calculation that was canceled, and its StateChangeReason: for itself,
    with its session, or since it was one that must not run. ``told`` is its agent's reason."""
    if calculation.state is CalculationState.CANCELING and calculation.reason is not None:
        return CalculationEvent.FAILED, calculation.reason
    return CalculationEvent.CANCELED, _why_canceled(session, calculation, told)


def _why_canceled(session: Session, calculation: Calculation, told: str) -> str:
    if calculation.state is CalculationState.CANCELING:
        return CANCELED_REASON
    if session.state in ACTIVE:
        return told or CANCELED_REASON
    code = code_in(session.reason)
    return f"{SESSION_TERMINATED_REASON} [{code}]" if code else SESSION_TERMINATED_REASON


def how_ended(session: Session, calculation: Calculation) -> tuple[CalculationEvent, str]:
    """The same of an unfinished calculation whose session just ended."""
    asked = calculation.state is CalculationState.CANCELING
    if asked or session.state is State.TERMINATED:
        return how_canceled(session, calculation)
    return CalculationEvent.FAILED, session.reason or explain(Code.CRASH)


def require_room(session: Session) -> None:
    """Raise unless the session takes a calculation now. The text is one that clients match."""
    if session.state not in {State.CREATED, State.IDLE}:
        raise InvalidRequest(
            f"Session is in the {session.state} state; needs to be IDLE to accept Calculations."
        )


def notebook_came(session: Session, at: datetime) -> dict[str, Any]:
    """The start timeline of a session whose notebook was fetched."""
    return {**session.timeline, NOTEBOOK_CAME: at.timestamp()}

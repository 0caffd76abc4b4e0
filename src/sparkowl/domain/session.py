"""A session: its states, what may happen to it, and what should be done about it next.

:func:`next_step` decides and :func:`apply` changes the state; carrying a step out is the
supervisor's work. There are no states but Athena's public ones. What looks like a sub-state is a
fact beside the state: "CREATING without a driver" is a session that must be launched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sparkowl.domain import engine, opening
from sparkowl.domain.calculation import (
    CANCELED_REASON,
    SESSION_TERMINATED_REASON,
    Calculation,
)
from sparkowl.domain.calculation import Event as CalculationEvent
from sparkowl.domain.calculation import State as CalculationState
from sparkowl.domain.driver import Driver
from sparkowl.domain.errors import IllegalTransition, InvalidRequest
from sparkowl.domain.ids import NotebookId, ServerId, SessionId
from sparkowl.domain.reason import NOT_STARTED, UNHEALTHY, Code, code_in, explain

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


#: Where a session may be before its driver took it.
_NOT_OPEN: Final = frozenset({State.CREATING, State.CREATED, State.BUSY})
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
    def working_directory(self) -> str:
        return f"{self.output_location}/{self.id}"

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


def queued_reason(place: int, length: int) -> str:
    """The StateChangeReason of a session that waits for a driver of its own."""
    return f"Session waits for capacity: place {place} of {length} in the queue."


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


# --- what to do next ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a driver for the session."""


@dataclass(frozen=True, slots=True)
class FetchNotebook:
    """Begin to fetch the file that becomes the session's notebook."""

    uri: str


@dataclass(frozen=True, slots=True)
class AdoptDriver:
    """Tell the ready driver that it is the session's."""


@dataclass(frozen=True, slots=True)
class RunCalculation:
    """Hand the calculation to the driver, and tell it which of those behind shall not run."""

    calculation: Calculation
    behind: tuple[Calculation, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelCalculation:
    """Tell the driver to stop the calculation, and which of those behind shall not run."""

    calculation: Calculation
    behind: tuple[Calculation, ...] = ()


@dataclass(frozen=True, slots=True)
class StopDriver:
    """End the driver, by force if need be."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Write the event down."""

    event: Event
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before ``until`` (None: before something happens)."""

    until: datetime | None = None


Step = (
    FetchNotebook
    | Launch
    | AdoptDriver
    | RunCalculation
    | CancelCalculation
    | StopDriver
    | Happened
    | Rest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits for what."""

    #: For a driver to be ready, from its own beginning: waiting for a place to start in does not
    #: count. And once more for it to take the session.
    start: timedelta
    #: For an agent whose link is gone but whose process is alive, before the session is DEGRADED...
    silent: timedelta
    #: ...and before the driver is given up.
    lost: timedelta
    #: For an agent to end a block that it shall stop. It kills the kernel itself well before.
    cancel: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the supervisor sees when it looks at a session."""

    driver: Driver | None
    #: The driver's process is there. A driver that was never launched is not alive.
    alive: bool
    linked: bool
    #: Since when the link is down; None while it is up or was never up.
    silent_since: datetime | None
    #: The oldest that has not ended. Others wait behind it.
    calculation: Calculation | None
    #: Those behind it that shall not run.
    behind: tuple[Calculation, ...] = ()
    #: Since when the calculation shall stop *and* the agent could know it; None: it need not.
    canceling_since: datetime | None = None
    #: The file that becomes its notebook is being fetched, or was...
    fetching: bool = False
    #: ...in vain, for this reason: a sentence for the user.
    not_fetched: str | None = None


def next_step(session: Session, seen: Situation, now: datetime, patience: Patience) -> Step:
    """The one thing to do now for this session."""
    # Also a driver that died by itself is stopped once: that clears what it left behind.
    left = seen.driver is not None and seen.driver.ended_at is None
    if session.state in TERMINAL:
        return StopDriver() if left else Rest()
    if session.state is State.TERMINATING:
        return StopDriver() if left else Happened(Event.DRIVER_GONE)
    if session.awaited_file is not None and session.state in _NOT_OPEN:
        return _await_notebook(session.awaited_file, session, seen, now, patience)
    if session.state is State.CREATING:
        return _start(session, seen, now, patience)
    return _keep(session, seen, now, patience)


def _await_notebook(
    file: str, session: Session, seen: Situation, now: datetime, patience: Patience
) -> Step:
    """The file is fetched beside the start of the driver; the adoption waits for it."""
    if not seen.fetching:
        return FetchNotebook(file)
    if seen.not_fetched is not None:
        return _not_started(Code.USER, seen.not_fetched)
    if session.state is State.CREATING:
        return _start(session, seen, now, patience)
    driver = seen.driver
    if driver is None or _lost(driver, seen):
        return _driver_lost(*_loss(driver))
    return Rest()


def _start(session: Session, seen: Situation, now: datetime, patience: Patience) -> Step:
    driver = seen.driver
    if driver is None or (driver.handle is None and driver.ended_at is None):
        return Launch()
    if _lost(driver, seen):
        return _not_started(driver.code, driver.reason or "The Spark driver ended while starting.")
    if driver.ready_at is not None:
        return Happened(Event.DRIVER_READY)
    deadline = driver.created_at + patience.start
    if now >= deadline:
        seconds = int(patience.start.total_seconds())
        return _not_started(Code.CRASH, f"The Spark driver was not ready after {seconds} s.")
    return Rest(until=deadline)


def _not_started(code: Code | None, detail: str) -> Happened:
    return Happened(Event.START_FAILED, explain(code or Code.CRASH, detail, sentence=NOT_STARTED))


def _keep(session: Session, seen: Situation, now: datetime, patience: Patience) -> Step:
    driver = seen.driver
    if driver is None or _lost(driver, seen):
        return _driver_lost(*_loss(driver))
    if seen.canceling_since is not None and now >= seen.canceling_since + patience.cancel:
        seconds = int(patience.cancel.total_seconds())
        return _driver_lost(Code.CRASH, f"Its agent did not stop a block within {seconds} s.")
    if not seen.linked:
        return _await_link(session, seen, now, patience)
    calculation = seen.calculation
    if session.state is State.DEGRADED:
        return Happened(Event.AGENT_BACK_BUSY if calculation else Event.AGENT_BACK)
    if driver.adopted_at is None:
        return _adopt(session, now, patience)
    if session.state is State.CREATED:
        return Happened(Event.ADOPTED)
    if calculation is not None:
        if calculation.state is CalculationState.CANCELING:
            return CancelCalculation(calculation, seen.behind)
        return RunCalculation(calculation, seen.behind)
    if session.state is State.BUSY:
        return Happened(Event.WORK_ENDED)
    return _rest_idle(session, now)


def _adopt(session: Session, now: datetime, patience: Patience) -> Step:
    assert session.active_at is not None
    came = session.timeline.get(NOTEBOOK_CAME)
    since = session.active_at
    if came is not None:
        since = max(since, datetime.fromtimestamp(came, UTC))
    if now < since + patience.start:
        return AdoptDriver()
    seconds = int(patience.start.total_seconds())
    return _driver_lost(Code.CRASH, f"Its driver did not take it within {seconds} s.")


def _rest_idle(session: Session, now: datetime) -> Step:
    deadline = stops_at(session)
    assert deadline is not None
    if now >= deadline:
        minutes = int(session.idle_timeout.total_seconds()) // 60
        time = f"{minutes} minutes" if minutes != 1 else "a minute"
        return Happened(Event.IDLE_TIMED_OUT, explain(Code.IDLE, f"Nothing ran in it for {time}."))
    return Rest(until=deadline)


def _await_link(session: Session, seen: Situation, now: datetime, patience: Patience) -> Step:
    since = seen.silent_since or now
    if now >= since + patience.lost:
        seconds = int(patience.lost.total_seconds())
        return _driver_lost(Code.SERVER, f"Its agent was silent for {seconds} s.")
    if session.state is State.DEGRADED:
        return Rest(until=since + patience.lost)
    if now >= since + patience.silent and session.state is not State.CREATED:
        return Happened(Event.AGENT_SILENT, explain(Code.SERVER, "Its agent does not answer."))
    return Rest(
        until=since + (patience.lost if session.state is State.CREATED else patience.silent)
    )


def _lost(driver: Driver, seen: Situation) -> bool:
    """Gone, or going: a driver has a reason to end only once it reported that it is lost."""
    return driver.ended_at is not None or driver.reason is not None or not seen.alive


def _loss(driver: Driver | None) -> tuple[Code, str]:
    if driver is None or driver.reason is None:
        return Code.CRASH, "The Spark driver is gone."
    return driver.code or Code.CRASH, driver.reason


def _driver_lost(code: Code, detail: str) -> Happened:
    return Happened(Event.DRIVER_LOST, explain(code, detail, sentence=UNHEALTHY))

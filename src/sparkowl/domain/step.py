"""What should be done about a session next.

:func:`next_step` decides; carrying a step out is the supervisor's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sparkowl.domain.calculation import Calculation
from sparkowl.domain.calculation import State as CalculationState
from sparkowl.domain.driver import Driver
from sparkowl.domain.reason import NOT_STARTED, UNHEALTHY, Code, explain
from sparkowl.domain.session import NOTEBOOK_CAME, TERMINAL, Event, Session, State, stops_at

#: Where a session may be before its driver took it.
_NOT_OPEN: Final = frozenset({State.CREATING, State.CREATED, State.BUSY})


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a driver for the session."""


@dataclass(frozen=True, slots=True)
class FetchNotebook:
    """Begin to fetch the file that becomes the session's notebook."""

    uri: str


@dataclass(frozen=True, slots=True)
class PreparePackages:
    """Begin to have the packages of the session's workgroup built."""


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
    | PreparePackages
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
    #: Its workgroup's packages are not there; without them it gets no driver...
    awaits_packages: bool = False
    #: ...but they are being built, or were...
    preparing: bool = False
    #: ...in vain, for this reason.
    not_prepared: str | None = None


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
        return _prepare(seen) or Launch()
    if _lost(driver, seen):
        return _not_started(driver.code, driver.reason or "The Spark driver ended while starting.")
    if driver.ready_at is not None:
        return Happened(Event.DRIVER_READY)
    deadline = driver.created_at + patience.start
    if now >= deadline:
        seconds = int(patience.start.total_seconds())
        return _not_started(Code.CRASH, f"The Spark driver was not ready after {seconds} s.")
    return Rest(until=deadline)


def _prepare(seen: Situation) -> Step | None:
    """Packages come before the driver: it would only wait for them. None: they are there."""
    if not seen.awaits_packages:
        return None
    if seen.not_prepared is not None:
        return _not_started(Code.USER, seen.not_prepared)
    return Rest() if seen.preparing else PreparePackages()


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
        return _adopt(session, seen, now, patience)
    if session.state is State.CREATED:
        return Happened(Event.ADOPTED)
    if calculation is not None:
        if calculation.state is CalculationState.CANCELING:
            return CancelCalculation(calculation, seen.behind)
        return RunCalculation(calculation, seen.behind)
    if session.state is State.BUSY:
        return Happened(Event.WORK_ENDED)
    return _rest_idle(session, now)


def _adopt(session: Session, seen: Situation, now: datetime, patience: Patience) -> Step:
    assert session.active_at is not None
    came = session.timeline.get(NOTEBOOK_CAME)
    since = session.active_at
    if came is not None:
        since = max(since, datetime.fromtimestamp(came, UTC))
    if seen.not_prepared is not None:
        return _driver_lost(Code.USER, seen.not_prepared)
    if now < since + patience.start:
        # A server that was restarted has to find its packages again.
        return _prepare(seen) or AdoptDriver()
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

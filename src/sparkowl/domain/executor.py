"""The executors of a session, as ListExecutors shows them.

The coordinator is the session's driver; on one machine Spark runs its tasks inside it, and it is
the only one. Workers are the executors that Spark reports beside it. Nothing here is stored as a
state: it follows from the session, the driver and what Spark said, so no executor outlives its
driver in an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from sparkowl.domain import session as sessions
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import DriverId
from sparkowl.domain.limits import COORDINATOR_DPUS, CORES_PER_DPU

#: How Spark begins the reason of an end that somebody wanted: ``ExecutorKilled`` (dynamic
#: allocation, the end of the application) and ``ExecutorDecommission``. Anything else is a loss.
_WANTED_ENDS: Final = ("Executor killed by driver", "Executor decommission")


class State(StrEnum):
    """Athena's ``ExecutorState``."""

    CREATING = "CREATING"
    CREATED = "CREATED"
    REGISTERED = "REGISTERED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    id: str
    type: str
    state: State
    started_at: datetime
    ended_at: datetime | None
    dpus: int


class Fate(StrEnum):
    """What Spark says of a worker."""

    LIVES = "LIVES"
    #: Given back, or ended with its driver.
    ENDED = "ENDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One row of ``executors``."""

    driver_id: DriverId
    #: Unique for the driver; Spark's own, but in a second SparkContext.
    executor_id: str
    cores: int
    started_at: datetime
    ended_at: datetime | None = None
    failed: bool = False

    @property
    def dpus(self) -> int:
        return dpus(self.cores)

    @property
    def fate(self) -> Fate:
        if self.failed:
            return Fate.FAILED
        return Fate.LIVES if self.ended_at is None else Fate.ENDED


def dpus(cores: int) -> int:
    """Whole DPUs, at least one."""
    return max(1, -(-cores // CORES_PER_DPU))


def is_failure(reason: str) -> bool:
    """Whether an executor that ended for this reason, in Spark's words, was lost."""
    return not reason.startswith(_WANTED_ENDS)


def coordinator(session: sessions.Session, driver: Driver) -> Executor:
    """The driver of ``session`` as an executor."""
    return Executor(
        id=driver.id,
        type="COORDINATOR",
        state=coordinator_state(session, driver),
        started_at=driver.created_at,
        ended_at=_driver_end(session, driver),
        dpus=COORDINATOR_DPUS,
    )


def worker(session: sessions.Session, driver: Driver, seen: Worker) -> Executor:
    """A worker of ``driver`` as an executor. Its id is a UUID, the same at every look."""
    ends = [at for at in (seen.ended_at, _driver_end(session, driver)) if at is not None]
    return Executor(
        id=str(uuid5(UUID(driver.id), seen.executor_id)),
        type="WORKER",
        state=worker_state(session, driver, seen.fate),
        started_at=seen.started_at,
        ended_at=max(seen.started_at, min(ends)) if ends else None,
        dpus=seen.dpus,
    )


def coordinator_state(session: sessions.Session, driver: Driver) -> State:
    if session.state is sessions.State.FAILED:
        return State.FAILED
    if session.state is sessions.State.TERMINATED or driver.ended_at is not None:
        return State.TERMINATED
    if session.state is sessions.State.TERMINATING:
        return State.TERMINATING
    if driver.adopted_at is not None:
        return State.REGISTERED
    return State.CREATING if driver.handle is None else State.CREATED


#: What a worker that lives is, by its coordinator. One whose driver failed did not fail itself.
_LIVING: Final[Mapping[State, State]] = {
    # Spark reports a worker only once it has registered; here it waits for its session.
    State.CREATING: State.CREATED,
    State.CREATED: State.CREATED,
    State.REGISTERED: State.REGISTERED,
    State.TERMINATING: State.TERMINATING,
    State.TERMINATED: State.TERMINATED,
    State.FAILED: State.TERMINATED,
}


def worker_state(session: sessions.Session, driver: Driver, fate: Fate) -> State:
    match fate:
        case Fate.FAILED:
            return State.FAILED
        case Fate.ENDED:
            return State.TERMINATED
        case Fate.LIVES:
            return _LIVING[coordinator_state(session, driver)]


def fates_in(session: sessions.Session, driver: Driver, asked: State | None) -> frozenset[Fate]:
    """The fates of the workers that are in the state ``asked`` for (None: in any)."""
    return frozenset(
        fate for fate in Fate if asked is None or worker_state(session, driver, fate) is asked
    )


def _driver_end(session: sessions.Session, driver: Driver) -> datetime | None:
    """A session's end is its driver's, also while the driver is still being cleared away."""
    ends = [at for at in (driver.ended_at, session.ended_at) if at is not None]
    return min(ends) if ends else None

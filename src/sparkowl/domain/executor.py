"""The executors of a session, as ListExecutors shows them.

On one machine Spark runs its tasks inside the driver, so a session has one executor: its
coordinator, which is the driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sparkowl.domain import session as sessions
from sparkowl.domain.driver import Driver
from sparkowl.domain.limits import COORDINATOR_DPUS


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


def coordinator(session: sessions.Session, driver: Driver) -> Executor:
    """The driver of ``session`` as an executor."""
    return Executor(
        id=driver.id,
        type="COORDINATOR",
        state=_state(session, driver),
        started_at=driver.created_at,
        ended_at=driver.ended_at,
        dpus=COORDINATOR_DPUS,
    )


def _state(session: sessions.Session, driver: Driver) -> State:
    if session.state is sessions.State.FAILED:
        return State.FAILED
    if driver.ended_at is not None:
        return State.TERMINATED
    if session.state is sessions.State.TERMINATING:
        return State.TERMINATING
    if driver.adopted_at is not None:
        return State.REGISTERED
    return State.CREATING if driver.handle is None else State.CREATED

"""DPU arithmetic, and what an account and its workgroups may use at once.

One DPU is 4 vCPU and 16 GB on AWS (the Athena User Guide's notebooks-spark page). A session uses
one for its coordinator, and one or more for each executor that Spark gave it beside that. On one
machine there is only the coordinator, whatever its real size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.ids import SessionId

#: Athena's default (User Guide, notebooks-spark-getting-started).
DEFAULT_IDLE_TIMEOUT: Final = timedelta(minutes=20)
#: A session without executors: its coordinator.
COORDINATOR_DPUS: Final = 1
CORES_PER_DPU: Final = 4
#: What a start is told when the host has no room for its driver; clients look for these words.
NO_CAPACITY: Final = "Session cannot be started, the required capacity not being available"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is in use at one moment."""

    sessions: int = 0
    dpus: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(sessions=self.sessions + other.sessions, dpus=self.dpus + other.dpus)


#: What one more session takes at first.
ONE_SESSION: Final = Load(sessions=1, dpus=COORDINATOR_DPUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that may be in use; None: no limit of its own."""

    sessions: int | None = None
    dpus: int | None = None

    def exceeded_by(self, use: Load) -> str | None:
        """Which limit ``use`` is over, in words that clients match; None when it fits."""
        if self.sessions is not None and use.sessions > self.sessions:
            return f"Maximum allowed sessions reached: {self.sessions}"
        if self.dpus is not None and use.dpus > self.dpus:
            return f"Maximum concurrent DPUs reached: {self.dpus}"
        return None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits for a driver of its own."""

    session_id: SessionId
    work_group: str
    #: Its workgroup is disabled: it keeps its place, and has no turn.
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be used. The defaults are AWS's (notebooks-spark-quotas)."""

    #: Largest MaxConcurrentDpus of a session.
    session_dpus: int = 60
    account: Quota = Quota(sessions=20, dpus=160)
    #: Of each workgroup that has none of its own.
    work_group: Quota = Quota()
    by_work_group: Mapping[str, Quota] = field(default_factory=dict)
    #: A start for which there is no room waits, instead of being refused...
    queue_when_full: bool = False
    #: ...unless as many wait already.
    queue_length: int = 100

    def require_size(self, max_concurrent_dpus: int) -> None:
        """Raise for a session that would be too large at any time."""
        if max_concurrent_dpus > self.session_dpus:
            raise InvalidRequest(
                f"EngineConfiguration.MaxConcurrentDpus is {max_concurrent_dpus}; "
                f"a session may use at most {self.session_dpus} DPUs."
            )

    def full(self, work_group: str, in_use: Mapping[str, Load]) -> str | None:
        """Why one more session does not fit, ``in_use`` being by workgroup; None: it fits."""
        whole = sum(in_use.values(), ONE_SESSION)
        there = in_use.get(work_group, Load()) + ONE_SESSION
        of_work_group = self.by_work_group.get(work_group, self.work_group).exceeded_by(there)
        if of_work_group is not None:
            return f"{of_work_group} in WorkGroup {work_group}"
        return self.account.exceeded_by(whole)

    def require_place(self, waiting: int) -> None:
        """Raise when no more may wait."""
        if waiting >= self.queue_length:
            raise TooManyRequests(
                f"Maximum allowed sessions reached, and {waiting} more wait for room already."
            )

    def next_in_line(
        self, waiting: Sequence[Waiting], in_use: Mapping[str, Load]
    ) -> SessionId | None:
        """Whose turn it is: the longest-waiting session that fits.

        One whose workgroup is full, or disabled, holds up nobody else's workgroup.
        """
        for session in waiting:
            if not session.held and self.full(session.work_group, in_use) is None:
                return session.session_id
        return None

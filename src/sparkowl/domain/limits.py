"""DPU arithmetic and the limits that Athena's model does not state itself.

One DPU is 4 vCPU and 16 GB on AWS (the Athena User Guide's notebooks-spark page). On one machine a
session is one driver and counts as one DPU, whatever its real size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sparkowl.domain.errors import InvalidRequest, TooManyRequests

#: Athena's default (User Guide, notebooks-spark-getting-started).
DEFAULT_IDLE_TIMEOUT: Final = timedelta(minutes=20)
DEFAULT_MAX_CONCURRENT_DPUS: Final = 20
#: A session without executors: its coordinator.
COORDINATOR_DPUS: Final = 1
CORES_PER_DPU: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one account may use at once. The defaults are AWS's (notebooks-spark-quotas)."""

    sessions: int = 20
    session_dpus: int = 60
    account_dpus: int = 160

    def allow_session(self, max_concurrent_dpus: int, *, live_sessions: int) -> None:
        """Raise unless one more session of this size fits."""
        if max_concurrent_dpus > self.session_dpus:
            raise InvalidRequest(
                f"EngineConfiguration.MaxConcurrentDpus is {max_concurrent_dpus}; "
                f"a session may use at most {self.session_dpus} DPUs."
            )
        if live_sessions >= self.sessions:
            raise TooManyRequests(f"Maximum allowed sessions reached: {self.sessions}.")
        if (live_sessions + 1) * COORDINATOR_DPUS > self.account_dpus:
            raise TooManyRequests(f"Maximum concurrent DPUs reached: {self.account_dpus}.")

"""A budget: the DPU-hours that a workgroup may use in a day or a month (UTC).

First it warns, then it refuses new sessions, at last it ends those that run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sparkowl.domain.errors import TooManyRequests

_HOUR: Final = timedelta(hours=1)


class Period(StrEnum):
    """How long a budget lasts before it begins anew. Both begin at midnight, UTC."""

    DAY = "day"
    MONTH = "month"

    def bounds(self, at: datetime) -> tuple[datetime, datetime]:
        """The period that a moment lies in: from the first, up to the second."""
        at = at.astimezone(UTC)
        day = datetime(at.year, at.month, at.day, tzinfo=UTC)
        if self is Period.DAY:
            return day, day + timedelta(days=1)
        month = day.replace(day=1)
        return month, (month + timedelta(days=31)).replace(day=1)


class Standing(StrEnum):
    """What a budget does at the moment. Each does what those before it do, too."""

    OK = "OK"
    WARN = "WARN"
    REFUSE = "REFUSE"
    STOP = "STOP"


#: Those in which no session starts.
REFUSING: Final = frozenset({Standing.REFUSE, Standing.STOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limit, and the fractions of it at which something happens."""

    work_group: str
    dpu_hours: float
    period: Period
    warn_at: float = 0.8
    refuse_at: float = 1.0
    #: None: sessions that run are never ended.
    stop_at: float | None = None

    def standing(self, used: timedelta) -> Standing:
        """By the DPU time that was used in the running period."""
        fraction = used / _HOUR / self.dpu_hours
        if self.stop_at is not None and fraction >= self.stop_at:
            return Standing.STOP
        if fraction >= self.refuse_at:
            return Standing.REFUSE
        return Standing.WARN if fraction >= self.warn_at else Standing.OK

    def allow_session(self, used: timedelta, now: datetime) -> None:
        """Raise unless the budget lets another session start."""
        if self.standing(used) in REFUSING:
            raise TooManyRequests(
                f"The budget of workgroup {self.work_group} is used up: {self.spent(used)}. "
                f"Sessions start again {self._afresh(now)}."
            )

    def stop_reason(self, used: timedelta, now: datetime) -> str:
        """Why the budget ended a session. It names no workgroup: clients
        search such sentences for the words of states."""
        return (
            f"The budget of its workgroup is used up: {self.spent(used)}. "
            f"Sessions start again {self._afresh(now)}."
        )

    def spent(self, used: timedelta) -> str:
        """How much of it is used, for people."""
        return f"{used / _HOUR:.2f} of {self.dpu_hours:g} DPU-hours of this {self.period}"

    def _afresh(self, now: datetime) -> str:
        _, end = self.period.bounds(now)
        return f"at {end:%Y-%m-%dT%H:%M:%SZ}"

"""DPU time: what a session, a calculation or a group of sessions has used.

A session uses its coordinator's DPU from the moment its driver was its own until it ends, and each
worker's DPUs for as long as that one lived, within the session. A calculation uses the same within
its own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from sparkowl.domain.executor import Worker
from sparkowl.domain.limits import COORDINATOR_DPUS

_NOTHING: Final = timedelta(0)
_EPOCH: Final = date(1970, 1, 1)
#: Of many sessions, times are microseconds since the epoch: a million of them pass through here.
_DAY_MICROS: Final = 86_400 * 1_000_000
_HOUR_MICROS: Final = 3_600 * 1_000_000


def used(since: datetime | None, until: datetime, workers: Iterable[Worker]) -> timedelta:
    """The DPU time of one session, or calculation, that ran from ``since`` (None: it never did)."""
    if since is None:
        return _NOTHING
    together = COORDINATOR_DPUS * max(until - since, _NOTHING)
    for worker in workers:
        began, ended = max(worker.started_at, since), min(worker.ended_at or until, until)
        together += worker.dpus * max(ended - began, _NOTHING)
    return together


def dpu_millis(since: datetime | None, until: datetime, workers: Iterable[Worker]) -> int:
    """The same in milliseconds; at least 1 once something ran, as Athena never answers 0 then."""
    if since is None:
        return 0
    return max(1, round(used(since, until, workers) / timedelta(milliseconds=1)))


# --- many sessions -----------------------------------------------------------------------------

WORK_GROUP: Final = "workgroup"
PRINCIPAL: Final = "principal"
DAY: Final = "day"
#: With a tag's key behind it.
TAG: Final = "tag:"

#: A group's values, in the order in which they were asked for; None: the session has none.
Group = tuple[str | None, ...]


def groups_by(name: str) -> bool:
    """Whether usage can be grouped by this."""
    return name in {WORK_GROUP, PRINCIPAL, DAY} or (name.startswith(TAG) and name != TAG)


class Use(NamedTuple):
    """Some DPUs for some time: of a session's coordinator, or of a worker."""

    group: Group
    since: int
    until: int
    dpus: int
    #: 1 for the coordinator, which stands for its session; 0 for a worker.
    sessions: int


@dataclass(slots=True)
class Total:
    """What a group used."""

    sessions: int = 0
    dpu_micros: int = 0

    @property
    def dpu_hours(self) -> float:
        return self.dpu_micros / _HOUR_MICROS


def tally(uses: Iterable[Use], by: Sequence[str]) -> dict[Group, Total]:
    """The total of each group, sorted. Holds the groups in memory, not the uses.

    Days are UTC's, and are filled in here: what spans several is cut at each midnight, and its
    session counts in each of them.
    """
    day_at = by.index(DAY) if DAY in by else None
    totals: dict[Group, Total] = {}
    for use in uses:
        if use.until < use.since:
            continue
        if day_at is None:
            _add(totals, use.group, use.until - use.since, use)
            continue
        for day, micros in _by_day(use.since, use.until):
            group = (*use.group[:day_at], day, *use.group[day_at + 1 :])
            _add(totals, group, micros, use)
    return dict(sorted(totals.items(), key=lambda item: [value or "" for value in item[0]]))


def _add(totals: dict[Group, Total], group: Group, micros: int, use: Use) -> None:
    total = totals.get(group)
    if total is None:
        total = totals[group] = Total()
    total.sessions += use.sessions
    total.dpu_micros += micros * use.dpus


def _by_day(since: int, until: int) -> Iterator[tuple[str, int]]:
    day = since // _DAY_MICROS
    while True:
        midnight = (day + 1) * _DAY_MICROS
        yield _name(day), min(until, midnight) - since
        if until <= midnight:
            return
        since, day = midnight, day + 1


def _name(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()

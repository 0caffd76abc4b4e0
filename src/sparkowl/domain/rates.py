"""How often one key may make one call: a token bucket for each pair.

A bucket holds ``burst`` tokens and gains ``per_s`` of them a second; a call takes one. AWS
publishes such numbers for Athena's SQL operations only (General Reference, "Amazon Athena endpoints
and quotas"); the defaults are those of StartQueryExecution and GetQueryExecution.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sparkowl.domain.errors import Throttled

#: AWS's words.
THROTTLED: Final = "Rate exceeded"
#: Buckets kept; the one that was used longest ago makes room. A bucket that is made anew is full.
MAX_BUCKETS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second, and how many at once after a pause. ``per_s`` 0: no limit."""

    per_s: float
    burst: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: datetime


@dataclass(slots=True)
class Rates:
    """The buckets of every key and operation."""

    #: Of operations that only read: their names begin with Get or List.
    reads: Rate = Rate(100, 200)
    writes: Rate = Rate(20, 80)
    by_operation: Mapping[str, Rate] = field(default_factory=dict)
    _buckets: OrderedDict[tuple[str, str], _Bucket] = field(default_factory=OrderedDict)

    def of(self, operation: str) -> Rate:
        own = self.by_operation.get(operation)
        if own is not None:
            return own
        return self.reads if operation.startswith(("Get", "List")) else self.writes

    def take(self, access_key_id: str, operation: str, now: datetime) -> None:
        """Count one call. Raises :class:`Throttled` when it is one too many; that costs nothing."""
        rate = self.of(operation)
        if rate.per_s == 0:
            return
        bucket = self._bucket((access_key_id, operation), rate, now)
        # A clock that was set back gives nothing, and takes nothing away.
        elapsed = max((now - bucket.at).total_seconds(), 0.0)
        bucket.tokens = min(bucket.tokens + elapsed * rate.per_s, rate.burst)
        bucket.at = now
        if bucket.tokens < 1:
            raise Throttled(THROTTLED)
        bucket.tokens -= 1

    def _bucket(self, key: tuple[str, str], rate: Rate, now: datetime) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(rate.burst, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket

"""A driver: the agent, kernel and JVM that run one session's code.

A driver has no state of its own, only facts with times: asked for, launched, ready, adopted,
ended. Drivers of the warm pool have no session yet; a driver belongs to at most one session in its
life and is thrown away with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sparkowl.domain.ids import DriverId, ServerId, SessionId
from sparkowl.domain.reason import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One row of ``drivers``."""

    id: DriverId
    #: None while it waits in the warm pool.
    session_id: SessionId | None
    fingerprint: str
    created_at: datetime
    #: What the launcher needs to find the process again; None until it was launched.
    handle: str | None = None
    ready_at: datetime | None = None
    adopted_at: datetime | None = None
    ended_at: datetime | None = None
    #: Why it ended, in a sentence for the user.
    reason: str | None = None
    #: What kind of end that is; None for drivers that ended before there were codes.
    code: Code | None = None
    #: What the agent said of itself: versions, start marks, archive, isolation.
    details: Mapping[str, Any] = field(default_factory=dict)
    #: In whose pool it waits. Once it is a session's, the session's server counts.
    server: ServerId | None = None


def fingerprint(environment: str, properties: Mapping[str, str], identity: str = "") -> str:
    """Stands for everything that is fixed when a driver is launched.

    Two sessions may use the same warm driver only if their fingerprints are equal. Of the engine
    only the environment that runs it counts, not what it is called. ``identity`` is what an
    execution role maps to: drivers of the warm pool have none.
    """
    text = json.dumps([environment, sorted(properties.items()), identity])
    return hashlib.sha256(text.encode()).hexdigest()


def expired(driver: Driver, max_age: timedelta, now: datetime) -> bool:
    """A warm driver that waited too long is replaced: its caches and leases age."""
    return driver.session_id is None and now >= driver.created_at + max_age

"""Access keys: what they may be in, and how they get there.

::

              DISABLE           ENABLE
    ACTIVE ────────────▶ DISABLED ────────────▶ ACTIVE

A key that was replaced by another may work on until ``expires_at``; after that no event helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

#: The longest that a key works on beside the one that replaced it.
MAX_OVERLAP: Final = timedelta(days=7)


class State(StrEnum):
    """IAM calls the second one ``Inactive``; the word here is the command's."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class Event(StrEnum):
    DISABLE = "DISABLE"
    ENABLE = "ENABLE"
    #: By another key, at once.
    REPLACE = "REPLACE"


class KeyRefusal(Exception):
    """The event cannot happen to this key. The text says why, for the operator."""


#: None: refused.
TRANSITIONS: Final[Mapping[State, Mapping[Event, State | None]]] = {
    State.ACTIVE: {
        Event.DISABLE: State.DISABLED,
        Event.ENABLE: State.ACTIVE,
        Event.REPLACE: State.DISABLED,
    },
    State.DISABLED: {
        Event.DISABLE: State.DISABLED,
        Event.ENABLE: State.ACTIVE,
        # Whoever disabled it did not want its principal to go on.
        Event.REPLACE: None,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """One row of ``access_keys``, but for its secret."""

    id: str
    principal: str
    state: State
    created_at: datetime
    expires_at: datetime | None = None

    def expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at

    def usable(self, at: datetime) -> bool:
        """Whether it opens the doors."""
        return self.state is State.ACTIVE and not self.expired(at)


def created(key_id: str, principal: str, at: datetime) -> AccessKey:
    return AccessKey(id=key_id, principal=principal, state=State.ACTIVE, created_at=at)


def apply(key: AccessKey, event: Event, at: datetime) -> AccessKey:
    """The key after an event; :class:`KeyRefusal` where the table has none."""
    if key.expired(at) and event is not Event.DISABLE:
        raise KeyRefusal(f"The key {key.id} has expired. Create another.")
    state = TRANSITIONS[key.state][event]
    if state is None:
        raise KeyRefusal(f"The key {key.id} is disabled. Enable it first, or create another.")
    return replace(key, state=state)


def replaced(key: AccessKey, at: datetime, keep: timedelta) -> AccessKey:
    """The key once another has taken its place: gone at once, or after ``keep``."""
    if not timedelta(0) <= keep <= MAX_OVERLAP:
        hours = MAX_OVERLAP // timedelta(hours=1)
        raise KeyRefusal(f"An old key may be kept for 0 to {hours} hours.")
    gone = apply(key, Event.REPLACE, at)
    if not keep:
        return gone
    until = at + keep
    if key.expires_at is not None:
        until = min(until, key.expires_at)
    return replace(key, expires_at=until)

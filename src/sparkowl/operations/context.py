"""What one operation may use. There is no launcher here: operations write rows and wake others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sparkowl.clock import Clock
from sparkowl.domain.arns import Account
from sparkowl.domain.ids import SessionId
from sparkowl.domain.limits import Limits
from sparkowl.domain.role import Roles
from sparkowl.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    store: Store
    clock: Clock
    account: Account
    limits: Limits
    #: ``s3://bucket/prefix`` for workgroups that name none.
    output_location: str
    #: Signs the tokens of paged lists.
    paging_key: bytes
    #: Tells the supervisor that a session's row has changed. A word, not a wait.
    wake: Callable[[SessionId], None]
    #: What execution roles map to.
    roles: Roles = field(default_factory=Roles)

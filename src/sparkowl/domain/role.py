"""What an ExecutionRole is mapped to: an identity for the driver, chosen by the operator.

A role that is mapped to nothing changes nothing. A session whose role changes something in its
driver runs in one that was launched for it alone, never in one of the warm pool. What the session's
key may do is no part of a driver: the server decides it at each call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from sparkowl.domain.policy import Policy
from sparkowl.domain.session import Session

#: Why such a session starts cold, for its timeline.
WHY_COLD = "its execution role is mapped to an identity of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One section of ``[roles]`` in the settings."""

    #: POSIX user of the kernel and the JVM; None: as of every other session.
    user: str | None = None
    #: On top of what every kernel and JVM has.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The operator's own: they win over the session's.
    spark_properties: Mapping[str, str] = field(default_factory=dict)
    #: Patterns of the buckets that it may see; None: all.
    buckets: tuple[str, ...] | None = None
    #: What the session's own key may do; None: what every session's may.
    policy: Policy | None = None

    def sees(self, bucket: str) -> bool:
        return self.buckets is None or any(fnmatchcase(bucket, name) for name in self.buckets)

    @property
    def identity(self) -> str:
        """Stands for everything that the role changes in a driver; empty: nothing."""
        if replace(self, policy=None) == Role():
            return ""
        maps = sorted(self.environment.items()), sorted(self.spark_properties.items())
        return json.dumps([self.user, *maps, self.buckets])


@dataclass(frozen=True, slots=True)
class Roles:
    """The mapping, by role ARN."""

    by_arn: Mapping[str, Role] = field(default_factory=dict)
    #: Of sessions whose role is not mapped, or that have none.
    unmapped: Role = Role()

    def of(self, session: Session) -> Role | None:
        """What the session's driver has of its role; None: nothing."""
        role = self.mapped(session)
        return role if role.identity else None

    def mapped(self, session: Session) -> Role:
        """What the session's role maps to, also where that is nothing."""
        return self.by_arn.get(session.execution_role or "", self.unmapped)

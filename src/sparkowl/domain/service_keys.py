"""Whence a session has its keys for an S3 service. Never the server's own."""

from __future__ import annotations

from dataclasses import dataclass

from sparkowl.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySources:
    """What the settings give, without a secret."""

    #: ARNs of execution roles whose section has keys.
    roles: frozenset[str] = frozenset()
    #: The section of all other roles has.
    unmapped: bool = False
    #: Roles are assumed at a token service.
    assumes: bool = False
    #: There are keys for whoever has no others.
    default: bool = False

    def require(self, role: str | None) -> None:
        """Raise where a session with this ExecutionRole would have no keys."""
        if self.default or self.unmapped or role in self.roles or (role and self.assumes):
            return
        whose = f"ExecutionRole {role}" if role else "a session without an ExecutionRole"
        section = f'[roles."{role}"]' if role else "[unmapped_role]"
        raise InvalidRequest(
            f"This server's objects are in an S3 service, and it has no keys there for {whose}: "
            f"set access_key_id and secret_access_key in {section}, or objects.assume_roles, or "
            "objects.session_access_key_id and objects.session_secret_access_key."
        )

"""An S3 service: where it is, and with whose keys the server goes there. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keys:
    """A pair of keys that the operator gave."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An S3 service, and the server's own keys there."""

    region: str
    #: None: AWS.
    endpoint: str | None = None
    path_style: bool = True
    #: None: from the usual sources of AWS.
    keys: Keys | None = None

    @property
    def url(self) -> str:
        """Where it is, as clients are told."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

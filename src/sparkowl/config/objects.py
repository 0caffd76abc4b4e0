"""Settings of object storage: the server's own folders, or an S3 service."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, SecretStr, model_validator

from sparkowl.config.section import Positive, Section

#: Host and port alone. Everybody is told it, so there can be no keys in it.
_URL: Final = r"^https?://[^/?#\s@]+/?$"


class ObjectsSection(Section):
    kind: Literal["folders", "s3"] = "folders"
    """``folders``: buckets are folders of the data directory, which the server itself serves over
    S3's API. ``s3``: buckets are those of an S3 service."""

    endpoint: str | None = Field(None, pattern=_URL)
    """URL of the S3 service, such as ``http://127.0.0.1:8333``. Unset: AWS."""

    region: str | None = Field(None, pattern=r"^[a-z0-9-]+$")
    """The service's region. Unset: the server's own ``region``."""

    path_style: bool = True
    """Name buckets in the path, not in the host name. AWS takes both."""

    access_key_id: str | None = Field(None, min_length=1)
    """The server's own key. Unset: the usual sources of AWS (environment, instance role)."""

    secret_access_key: SecretStr | None = None
    """Its secret; best given by the environment (``SPARKOWL_OBJECTS__SECRET_ACCESS_KEY``)."""

    session_access_key_id: str | None = Field(None, min_length=1)
    """The key of sessions whose execution role has none of its own. Never the server's."""

    session_secret_access_key: SecretStr | None = None
    """Its secret."""

    assume_roles: bool = False
    """Get each session keys of its own, by assuming its ExecutionRole at the token service."""

    sts_endpoint: str | None = Field(None, pattern=_URL)
    """URL of the token service. Unset: AWS's."""

    encrypted_disk: bool = False
    """Folders only: the operator's word that the data directory is on an encrypted disk. Then
    workgroups whose results are to be encrypted by SSE_S3 may start sessions."""

    upload_for_s: Positive = 12 * 3600
    """Service only: how long a calculation that is over waits for the service to take its outputs.
    Then it fails, and its outputs are tried again when its session ends."""

    unsent_days: Positive = 7
    """Service only: how long outputs that a driver left are kept for a service that does not take
    them."""

    unsent_mb: int = Field(1024, ge=1)
    """Service only: how much of them is kept, in MiB; what comes then is given up."""

    @model_validator(mode="after")
    def _pairs(self) -> ObjectsSection:
        for whose in ("", "session_"):
            key_id = getattr(self, f"{whose}access_key_id")
            secret = getattr(self, f"{whose}secret_access_key")
            if (key_id is None) != (secret is None):
                raise ValueError(
                    f"{whose}access_key_id and {whose}secret_access_key go together: give both "
                    "or neither"
                )
        return self

    @model_validator(mode="after")
    def _only_of_s3(self) -> ObjectsSection:
        given = sorted(self.model_fields_set - {"kind", "encrypted_disk"})
        if self.kind == "folders" and given:
            raise ValueError(f'{given[0]} is only for kind = "s3"')
        if self.kind == "s3" and self.encrypted_disk:
            raise ValueError('encrypted_disk is only for kind = "folders"')
        return self

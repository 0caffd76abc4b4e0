"""How outputs are to be encrypted: a workgroup's ``ResultConfiguration.EncryptionConfiguration``.

What was asked for is done or refused, never dropped: somebody relies on it. A service encrypts
with keys of its own (SSE_S3) or of a key service (SSE_KMS). On folders nothing here encrypts; the
operator may say that the disk is encrypted, which is what SSE_S3 promises. CSE_KMS would have to be
done by Spark itself, with a library that nobody but AWS's own clusters has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sparkowl.domain.errors import InvalidRequest

SSE_S3: Final = "SSE_S3"
SSE_KMS: Final = "SSE_KMS"
_MEMBER: Final = "ResultConfiguration.EncryptionConfiguration"


@dataclass(frozen=True, slots=True)
class Encryption:
    #: Athena's EncryptionOption.
    option: str
    #: Of SSE_KMS.
    kms_key: str | None = None

    @property
    def members(self) -> dict[str, str]:
        """As Athena's structure has it; :func:`of` reads it back."""
        key = {} if self.kms_key is None else {"KmsKey": self.kms_key}
        return {"EncryptionOption": self.option, **key}

    @property
    def words(self) -> dict[str, str]:
        """As a driver's agent is told."""
        key = {} if self.kms_key is None else {"kms_key": self.kms_key}
        return {"option": self.option, **key}


def of(members: Mapping[str, Any] | None) -> Encryption | None:
    """What an EncryptionConfiguration asks for; None: nothing."""
    if not members or "EncryptionOption" not in members:
        return None
    return Encryption(members["EncryptionOption"], members.get("KmsKey"))


@dataclass(frozen=True, slots=True)
class Encrypting:
    """What this server's storage can do."""

    #: Objects are in an S3 service, which encrypts what it is asked to.
    service: bool = False
    #: The operator says that the folders are on an encrypted disk.
    disk: bool = False

    def require(self, asked: Encryption | None, work_group: str) -> None:
        """Raise where outputs of a session of the workgroup would not be encrypted as asked."""
        if asked is None:
            return
        what = f"{_MEMBER} of WorkGroup {work_group} asks for {asked.option}"
        if asked.option not in {SSE_S3, SSE_KMS}:
            raise InvalidRequest(f"{what}, which this server cannot do; SSE_S3 and SSE_KMS it can.")
        if self.service or (self.disk and asked.option == SSE_S3):
            return
        instead = (
            "set objects.encrypted_disk = true if they are on an encrypted disk, or use an S3"
            if asked.option == SSE_S3
            else "use an S3"
        )
        raise InvalidRequest(
            f"{what}, but this server keeps objects as plain files: {instead} service "
            '(objects.kind = "s3"), or take EncryptionConfiguration out of the workgroup.'
        )

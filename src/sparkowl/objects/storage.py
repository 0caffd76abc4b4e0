"""What the server itself needs of object storage, wherever it is: its own folders or a service.

Small objects only, each whole in memory: notebooks that are imported, timelines, outputs that a
driver left.
"""

from __future__ import annotations

from typing import Protocol

from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location


class Storage(Protocol):
    """Every method raises :class:`~sparkowl.objects.errors.ObjectError`, worded for people and
    without a secret in it; where objects are files, OSError, too.
    :class:`~sparkowl.objects.errors.StorageUnreachable` may pass by itself."""

    async def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""
        ...

    async def size(self, place: Location) -> int:
        """Bytes of an object; NoSuchKey or NoSuchBucket where there is none."""
        ...

    async def exists(self, place: Location) -> bool:
        """Whether there is such an object."""
        ...

    async def read(self, place: Location, limit_bytes: int) -> bytes:
        """The object's first ``limit_bytes``; all of it if it has no more."""
        ...

    async def put(
        self, place: Location, content: bytes, encryption: Encryption | None = None
    ) -> None:
        """Write an object in the place of any that is there, all at once.

        ``encryption`` was required to be possible when the session started
        (:class:`~sparkowl.domain.encryption.Encrypting`).
        """
        ...

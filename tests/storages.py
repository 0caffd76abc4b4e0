"""Storage that is away when a test says so."""

from __future__ import annotations

from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location
from sparkowl.objects.errors import ObjectError
from sparkowl.objects.storage import Storage


class SwitchedStorage:
    """Another storage, unless there is trouble."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        #: What every call raises.
        self.trouble: ObjectError | None = None
        #: How often it was asked in vain.
        self.refused = 0
        #: How each object was to be encrypted, by key.
        self.encryptions: dict[str, Encryption | None] = {}

    def _ask(self) -> None:
        if self.trouble is not None:
            self.refused += 1
            raise self.trouble

    async def ensure_bucket(self, bucket: str) -> None:
        self._ask()
        await self._inner.ensure_bucket(bucket)

    async def size(self, place: Location) -> int:
        self._ask()
        return await self._inner.size(place)

    async def exists(self, place: Location) -> bool:
        self._ask()
        return await self._inner.exists(place)

    async def read(self, place: Location, limit_bytes: int) -> bytes:
        self._ask()
        return await self._inner.read(place, limit_bytes)

    async def put(
        self, place: Location, content: bytes, encryption: Encryption | None = None
    ) -> None:
        self._ask()
        self.encryptions[place.key] = encryption
        await self._inner.put(place, content, encryption)


_: type[Storage] = SwitchedStorage

"""Storage in the server's own folders."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location
from sparkowl.objects.errors import BucketAlreadyExists, NoSuchBucket
from sparkowl.objects.files import Files
from sparkowl.objects.storage import Storage


class FolderStorage:
    def __init__(self, files: Files) -> None:
        self._files = files

    async def ensure_bucket(self, bucket: str) -> None:
        if bucket not in await asyncio.to_thread(self._files.buckets):
            # A server that starts at the same moment may be faster.
            with suppress(BucketAlreadyExists):
                await asyncio.to_thread(self._files.create_bucket, bucket)

    async def size(self, place: Location) -> int:
        entry = await asyncio.to_thread(self._files.entry, place.bucket, place.key)
        return entry.size_bytes

    async def exists(self, place: Location) -> bool:
        try:
            return await asyncio.to_thread(self._files.exists, place.bucket, place.key)
        except NoSuchBucket:
            return False

    async def read(self, place: Location, limit_bytes: int) -> bytes:
        def read() -> bytes:
            with self._files.open(place.bucket, place.key) as reader:
                return reader.read(0, limit_bytes)

        return await asyncio.to_thread(read)

    async def put(
        self, place: Location, content: bytes, encryption: Encryption | None = None
    ) -> None:
        """What is asked to be encrypted is so by the disk."""
        await asyncio.to_thread(self._files.put_bytes, place.bucket, place.key, content)


_: type[Storage] = FolderStorage

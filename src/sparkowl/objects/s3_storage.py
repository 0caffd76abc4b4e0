"""Storage in an S3 service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Final

import obstore
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location
from sparkowl.domain.service import Service
from sparkowl.objects import s3_clients
from sparkowl.objects.errors import NoSuchBucket, NoSuchKey, ObjectError, StorageRefused
from sparkowl.objects.s3_clients import meaning, refusal
from sparkowl.objects.storage import Storage

#: Each holds connections; a bucket has more than one where workgroups encrypt differently.
_CLIENTS: Final = 32
#: Also names of old, and of others than AWS; nothing that has a meaning in a URL, of which the
#: client makes it a part as it stands.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CREATED_MEANWHILE: Final = frozenset({"BucketAlreadyOwnedByYou"})


class S3Storage:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = lru_cache(maxsize=_CLIENTS)(partial(s3_clients.store, service))

    async def ensure_bucket(self, bucket: str) -> None:
        await asyncio.to_thread(self._ensure_bucket, bucket)

    def _ensure_bucket(self, bucket: str) -> None:
        """By boto3: obstore knows objects only."""
        try:
            client = s3_clients.client(self._service)
            try:
                client.head_bucket(Bucket=bucket)
            except ClientError as error:
                if _status(error) != 404:
                    raise
                client.create_bucket(Bucket=bucket, **self._place())
        except ClientError as error:
            said = error.response.get("Error", {})
            code = str(said.get("Code", ""))
            if code in _CREATED_MEANWHILE:
                return
            raise refusal(
                f"s3://{bucket}",
                status=_status(error),
                code="" if code.isdigit() else code,
                message=str(said.get("Message", "")),
            ) from None
        except BotoCoreError as error:
            raise _unasked(f"s3://{bucket}", error) from None

    def _place(self) -> dict[str, object]:
        """AWS takes the name of its oldest region for a mistake."""
        if self._service.region == "us-east-1":
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": self._service.region}}

    async def size(self, place: Location) -> int:
        with _translated(place):
            meta = await obstore.head_async(self._client(place), place.key)
            return meta["size"]

    async def exists(self, place: Location) -> bool:
        try:
            await self.size(place)
        except (NoSuchBucket, NoSuchKey):
            return False
        return True

    async def read(self, place: Location, limit_bytes: int) -> bytes:
        with _translated(place):
            result = await obstore.get_async(self._client(place), place.key)
            content = bytearray()
            async for chunk in result.stream():
                content += chunk
                if len(content) >= limit_bytes:
                    break
            return bytes(content[:limit_bytes])

    async def put(
        self, place: Location, content: bytes, encryption: Encryption | None = None
    ) -> None:
        with _translated(place):
            client = self._store(place.bucket, encryption)
            await obstore.put_async(client, place.key, content, use_multipart=False)

    def _client(self, place: Location) -> S3Store:
        return self._store(place.bucket, None)


@contextmanager
def _translated(place: Location) -> Iterator[None]:
    if not _BUCKET.fullmatch(place.bucket):
        raise NoSuchBucket(f"{place.uri}: no bucket can have this name.")
    if place.key.startswith("/") or place.key.endswith("/"):
        # obstore would take these off, and go to another object than the caller's rights are for.
        raise meaning(ValueError(), place.uri)
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # The original has the text that was signed, and more: nothing for a log.
        raise meaning(error, place.uri) from None


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _unasked(what: str, error: BotoCoreError) -> ObjectError:
    """It was not even asked, or did not answer."""
    if isinstance(error, NoCredentialsError):
        return StorageRefused(
            f"{what}: this server has no keys for the S3 service: set objects.access_key_id and "
            "objects.secret_access_key, or give it an instance role."
        )
    return refusal(what, status=None, code="", message="")


_: type[Storage] = S3Storage

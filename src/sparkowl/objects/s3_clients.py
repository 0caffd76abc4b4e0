"""Clients of an S3 service, and what its refusals mean.

The service's own sentences are passed on, since it knows best; what else is in its answers, such as
the key id or the text that was signed, is not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sparkowl.domain.encryption import SSE_KMS, Encryption
from sparkowl.domain.service import Keys, Service
from sparkowl.objects.errors import (
    InvalidKey,
    NoSuchBucket,
    NoSuchKey,
    ObjectError,
    StorageRefused,
    StorageUnreachable,
)

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

CONNECT_S: Final = 5
#: Of one request, from the connection to the last byte; outputs have some 10 MB.
REQUEST_S: Final = 30
#: A request is repeated this often, with growing pauses...
_RETRIES: Final = 3
#: ...but not begun anew after so long: whoever waits for it has other ways.
_RETRY_S: Final = 10
#: Keys of an instance role change without a word.
_ASKED_AGAIN: Final = timedelta(minutes=1)

_STATUS: Final = re.compile(r"\bstatus: (\d{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]*)</Message>")
_KEY_ID: Final = re.compile(r"\b(AKIA|ASIA|SOWL)[A-Z0-9]{8,}\b")
_LONGEST: Final = 300
_NOT_FOUND: Final = 404
#: A service that is busy is not always so, and a new bucket is soon known everywhere.
_MAY_PASS: Final = frozenset({307, 408, 425, 429, 500, 502, 503, 504})
#: With another status, and yet nobody's fault that lasts.
_PASSING: Final = frozenset(
    {"ExpiredToken", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "OperationAborted"}
)
#: What obstore says of an answer of AWS for a bucket that is in another region.
_ELSEWHERE: Final = "redirect without LOCATION"


def store(service: Service, bucket: str, encryption: Encryption | None) -> S3Store:
    """A client of one bucket. Nothing of the server's environment has a say in it but keys."""
    scheme, _, host = service.url.partition("://")
    url = service.url if service.path_style else f"{scheme}://{bucket}.{host}"
    config: S3Config = {
        "endpoint": url,
        "aws_endpoint_url_s3": url,
        "region": service.region,
        "virtual_hosted_style_request": not service.path_style,
        "skip_signature": False,
    }
    if encryption is not None and encryption.option == SSE_KMS:
        config["server_side_encryption"] = "aws:kms"
        config["sse_kms_key_id"] = encryption.kms_key or ""
    elif encryption is not None:
        config["server_side_encryption"] = "AES256"
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": scheme == "http",
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=REQUEST_S),
        },
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_S),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
        credential_provider=_provider(service),
    )


def client(service: Service) -> Any:
    """A boto3 client of the whole service; blocks, as everything of it does."""
    keys = service.keys
    return boto3.client(
        "s3",
        region_name=service.region,
        endpoint_url=service.url,
        aws_access_key_id=keys and keys.access_key_id,
        aws_secret_access_key=keys and keys.secret_access_key,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=REQUEST_S,
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={"addressing_style": "path" if service.path_style else "virtual"},
        ),
    )


def _provider(service: Service) -> Callable[[], Coroutine[Any, Any, S3Credential]]:
    keys = service.keys
    if keys is not None:
        return lambda: _given(keys)
    session = boto3.Session()

    async def usual() -> S3Credential:
        found = await asyncio.to_thread(session.get_credentials)
        if found is None:
            raise StorageRefused(
                "This server has no keys for the S3 service: set objects.access_key_id and "
                "objects.secret_access_key, or give it an instance role."
            )
        frozen = await asyncio.to_thread(found.get_frozen_credentials)
        return {
            "access_key_id": str(frozen.access_key),
            "secret_access_key": str(frozen.secret_key),
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _ASKED_AGAIN,
        }

    return usual


async def _given(keys: Keys) -> S3Credential:
    return {
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "token": None,
        "expires_at": None,
    }


def meaning(error: BaseError | OSError | ValueError, what: str) -> ObjectError:
    """What a failure of obstore's says about ``what``, an ``s3://`` URI."""
    text = str(error)
    found = _STATUS.search(text)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if found is None and _ELSEWHERE in text:
        return StorageRefused(f"{what}: the bucket is in another region than objects.region.")
    return refusal(
        what,
        status=int(found[1]) if found else None,
        code=code[1] if code else "",
        message=message[1] if message else "",
        is_path=isinstance(error, ValueError),
    )


def refusal(
    what: str, *, status: int | None, code: str, message: str, is_path: bool = False
) -> ObjectError:
    """The error for an answer of the service; without a ``status`` there was none."""
    said = f"{code}: {_KEY_ID.sub('(key)', message)}".strip(": ")[:_LONGEST]
    if is_path:
        return InvalidKey(f"{what}: no object can have this key.")
    if status is None:
        return StorageUnreachable(f"{what}: the S3 service does not answer.")
    if code == "NoSuchBucket":
        return NoSuchBucket(f"{what}: The specified bucket does not exist.")
    if status == _NOT_FOUND:
        return NoSuchKey(f"{what}: The specified key does not exist.")
    if status in _MAY_PASS or code in _PASSING or "Throttling" in code:
        return StorageUnreachable(f"{what}: the S3 service cannot do it now ({said or status}).")
    return StorageRefused(f"{what}: the S3 service refuses it ({said or status}).")

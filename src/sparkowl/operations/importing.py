"""Reading a notebook from the server's buckets: what ImportNotebook or StartSession names."""

from __future__ import annotations

import asyncio
from typing import Final

from sparkowl.domain import notebook as domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.objects.errors import ObjectError
from sparkowl.objects.files import Files
from sparkowl.operations.context import Context

_SCHEME: Final = "s3://"


def place_of(uri: str, member: str) -> tuple[str, str]:
    """The bucket and key of an s3:// URI; :class:`InvalidRequest` for any other text."""
    if uri[: len(_SCHEME)].lower() != _SCHEME:
        raise InvalidRequest(f"{member} must be like s3://bucket/key, not {uri[:200]}.")
    bucket, _, key = uri[len(_SCHEME) :].partition("/")
    if not bucket or not key:
        raise InvalidRequest(f"{member} {uri} names no object: it must be like s3://bucket/key.")
    return bucket, key


async def read(ctx: Context, uri: str, member: str) -> str:
    """The notebook at an s3:// URI, checked as :func:`sparkowl.domain.notebook.require_payload`
    does. Whether the caller may read it is not looked at here.
    """
    bucket, key = place_of(uri, member)
    return await asyncio.to_thread(_read, ctx.files, bucket, key, f"{member} {uri}")


def _read(files: Files, bucket: str, key: str, what: str) -> str:
    try:
        with files.open(bucket, key) as reader:
            # Before it is read: anything may be there.
            domain.require_size(reader.entry.size_bytes, what)
            data = reader.read(0, domain.LARGEST + 1)
    except ObjectError as error:
        raise InvalidRequest(f"{what} cannot be read: {error}") from error
    return domain.require_payload(data, what)

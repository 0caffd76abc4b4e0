"""What S3 does with objects: put, get, head, copy, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import format_datetime
from typing import Final

from sparkowl.domain.policy import Principal
from sparkowl.objects.attributes import About, Entry
from sparkowl.objects.drafts import BLOCK_BYTES, Draft
from sparkowl.objects.files import Files, Reader
from sparkowl.s3 import body, conditions, xml
from sparkowl.s3.buckets import MAX_DOCUMENT_BYTES
from sparkowl.s3.calls import Answer, Call, Context, arn_of, decoded
from sparkowl.s3.errors import S3Error, access_denied, invalid, not_implemented, translated

#: What S3 deletes with one request at most.
MAX_DELETED: Final = 1000

_DEFAULT_TYPE: Final = "binary/octet-stream"
_STORED: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
_METADATA: Final = "x-amz-meta-"
#: Latin-1 without control characters: nothing that could end a header line.
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


async def put_object(ctx: Context, call: Call) -> Answer:
    """The condition is checked twice: before the body is asked for, and when it takes its place."""
    about = about_of(call.headers)
    condition = conditions.of_write(call.headers)
    await ctx.run(ctx.files.check, call.bucket, call.key, condition)
    draft = await ctx.run(ctx.files.draft)
    try:
        checksums = await body.take_in(ctx, call, draft, body.MAX_OBJECT_BYTES)
        entry = await ctx.run(
            ctx.files.commit,
            draft,
            call.bucket,
            call.key,
            replace(about, checksums=checksums),
            condition=condition,
        )
    finally:
        await ctx.run(draft.discard)
    return Answer(headers={"etag": quoted(entry.etag), **checksum_headers(checksums)})


async def get_object(ctx: Context, call: Call) -> Answer:
    """Also for HEAD: the door leaves out the body."""
    reader = await ctx.run(ctx.files.open, call.bucket, call.key)
    try:
        return _read_answer(call, reader)
    except conditions.NotModified:
        reader.close()
        entry = reader.entry
        return Answer(
            status=304,
            headers={"etag": quoted(entry.etag), "last-modified": _http_date(entry)},
        )
    except BaseException:
        reader.close()
        raise


def _read_answer(call: Call, reader: Reader) -> Answer:
    entry = reader.entry
    conditions.check_read(call.headers, entry)
    part = conditions.range_of(call.headers.get("range"), entry.size_bytes)
    offset, size = part or (0, entry.size_bytes)
    answer = Answer(
        headers=_headers(entry) | _overrides(call), source=reader, offset=offset, size_bytes=size
    )
    if part is not None:
        # No checksum: it is that of the whole, and clients would hold it against the part.
        answer.status = 206
        answer.headers["content-range"] = f"bytes {offset}-{offset + size - 1}/{entry.size_bytes}"
    elif call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        answer.headers |= checksum_headers(entry.about.checksums)
    return answer


async def delete_object(ctx: Context, call: Call) -> Answer:
    if "if-match" in call.headers:
        condition = conditions.of_write({"if-match": call.headers["if-match"]})
        await ctx.run(ctx.files.check, call.bucket, call.key, condition)
    await ctx.run(ctx.files.delete, call.bucket, call.key)
    return Answer(status=204)


async def delete_objects(ctx: Context, call: Call) -> Answer:
    """Each key succeeds or fails by itself."""
    await ctx.run(ctx.files.folder, call.bucket)
    document = body.Memory()
    await body.take_in(ctx, call, document, MAX_DOCUMENT_BYTES)
    tree = xml.parse(bytes(document.data), "Delete")
    objects = tree.findall("Object")
    if not 1 <= len(objects) <= MAX_DELETED:
        raise xml.malformed()
    if any(
        o.findtext("VersionId", "null") != "null" or o.find("ETag") is not None for o in objects
    ):
        raise not_implemented("Deleting a version, or on a condition,")
    keys = [one.findtext("Key", "") for one in objects]
    errors = await ctx.run(_delete_all, ctx.files, call.caller, call.bucket, keys)
    quiet = tree.findtext("Quiet", "").strip() == "true"
    deleted = [] if quiet else [key for key in keys if key not in errors]
    return xml.answer(
        "DeleteResult",
        [
            *(("Deleted", (("Key", key),)) for key in deleted),
            *(("Error", (("Key", key), *error)) for key, error in errors.items()),
        ],
    )


def _delete_all(
    files: Files, caller: Principal, bucket: str, keys: list[str]
) -> dict[str, tuple[tuple[str, xml.Value], ...]]:
    refusals = {key: _deleted(files, caller, bucket, key) for key in keys}
    return {
        key: (("Code", refusal.code), ("Message", str(refusal)))
        for key, refusal in refusals.items()
        if refusal is not None
    }


def _deleted(files: Files, caller: Principal, bucket: str, key: str) -> S3Error | None:
    if not caller.allows("s3:DeleteObject", arn_of(bucket, key)):
        return access_denied()
    try:
        files.delete(bucket, key)
    except Exception as error:
        refusal = translated(error)
        if refusal is None:
            raise
        return refusal
    return None


# --- copies -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """Where a copy comes from."""

    bucket: str
    key: str


def source_of(call: Call) -> Source:
    """From ``x-amz-copy-source``: ``bucket/key``, percent-encoded, perhaps after a slash."""
    value, _, version = call.headers["x-amz-copy-source"].partition("?versionId=")
    if version not in ("", "null"):
        raise not_implemented("Copying a version")
    bucket, _, key = decoded(value).removeprefix("/").partition("/")
    if not (bucket and key):
        raise invalid("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    return Source(bucket, key)


async def copy_object(ctx: Context, call: Call) -> Answer:
    source = source_of(call)
    directive = call.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise invalid("Unknown metadata directive.")
    if directive == "COPY" and source == Source(call.bucket, call.key):
        raise invalid(
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata.",
            "InvalidRequest",
        )
    condition = conditions.of_write(call.headers)
    await ctx.run(ctx.files.check, call.bucket, call.key, condition)
    given = about_of(call.headers) if directive == "REPLACE" else None

    def copy() -> Entry:
        with ctx.files.open(source.bucket, source.key) as reader, ctx.files.draft() as draft:
            entry = reader.entry
            check_copy(call, entry)
            pour(reader, draft, 0, entry.size_bytes)
            about = entry.about if given is None else given
            return ctx.files.commit(draft, call.bucket, call.key, about, condition=condition)

    return copied("CopyObjectResult", await ctx.run(copy))


def check_copy(call: Call, source: Entry) -> None:
    """Refuse to copy from an object that is not as the client wants it, or too large."""
    try:
        conditions.check_read(call.headers, source, "x-amz-copy-source-")
    except conditions.NotModified:  # for a copy that is a failed condition, as S3 has it
        raise conditions.failed("If-None-Match or If-Modified-Since") from None


def pour(reader: Reader, draft: Draft, offset: int, size_bytes: int) -> None:
    """Copy a part of an object into a draft. Never more than a block is in memory."""
    if size_bytes > body.MAX_OBJECT_BYTES:
        raise invalid(
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {body.MAX_OBJECT_BYTES}",
            "InvalidRequest",
        )
    end = offset + size_bytes
    while offset < end:
        block = reader.read(offset, min(BLOCK_BYTES, end - offset))
        if not block:
            raise conditions.failed("the source became shorter while it was copied")
        draft.write(block)
        offset += len(block)


def copied(root: str, entry: Entry) -> Answer:
    """The answer to a copy."""
    return xml.answer(root, [("ETag", quoted(entry.etag)), ("LastModified", entry.modified_at)])


# --- headers ----------------------------------------------------------------------------------


def about_of(headers: Mapping[str, str]) -> About:
    """What is kept with an object of the headers that it is written with."""
    stored = {name: headers[name] for name in _STORED if name in headers}
    encodings = [part.strip() for part in stored.pop("content-encoding", "").split(",")]
    # The framing of the body is over when the object is there.
    kept = ",".join(part for part in encodings if part and part != "aws-chunked")
    if kept:
        stored["content-encoding"] = kept
    metadata = {
        name.removeprefix(_METADATA): value
        for name, value in headers.items()
        if name.startswith(_METADATA)
    }
    for name, value in (*stored.items(), *metadata.items()):
        if not _HEADER_VALUE.fullmatch(value):
            raise invalid(f"The header {name[:80]!r} has characters that no header can have.")
    return About(headers=stored, metadata=metadata)


def quoted(etag: str) -> str:
    return f'"{etag}"'


def checksum_headers(checksums: Mapping[str, str]) -> dict[str, str]:
    return {f"x-amz-checksum-{name}": value for name, value in checksums.items()}


def _headers(entry: Entry) -> dict[str, str]:
    about = entry.about
    return {
        "content-type": _DEFAULT_TYPE,
        **{name: about.headers[name] for name in _STORED if name in about.headers},
        **{_METADATA + name: value for name, value in about.metadata.items()},
        "accept-ranges": "bytes",
        "etag": quoted(entry.etag),
        "last-modified": _http_date(entry),
    }


def _overrides(call: Call) -> dict[str, str]:
    """Headers that the URL asks for, as ``response-content-type`` does."""
    asked = {name: call.arguments.get(f"response-{name}") for name in _STORED}
    overrides = {name: value for name, value in asked.items() if value is not None}
    for name, value in overrides.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise invalid(f"response-{name} has characters that no header can have.")
    return overrides


def _http_date(entry: Entry) -> str:
    return format_datetime(entry.modified_at, usegmt=True)

"""The pages of a bucket on the wire, in S3's second and first version."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from sparkowl.objects.attributes import Entry
from sparkowl.objects.listings import Page
from sparkowl.s3 import xml
from sparkowl.s3.buckets import OWNER
from sparkowl.s3.calls import Answer, Call, Context
from sparkowl.s3.errors import invalid

MAX_KEYS: Final = 1000
#: Says that it is ours, and leaves room for another form later.
_TOKEN: Final = b"1:"

Encode = Callable[[str], str]


async def list_objects_v2(ctx: Context, call: Call) -> Answer:
    arguments = call.arguments
    token = arguments.get("continuation-token")
    start = arguments.get("start-after", "")
    encode, limit = encoding_of(call), limit_of(call, "max-keys", MAX_KEYS)
    page = await _page(ctx, call, start if token is None else _after(token), limit)
    owner = OWNER if arguments.get("fetch-owner") == "true" else None
    return xml.answer(
        "ListBucketResult",
        [
            *_head(call, encode, limit),
            ("KeyCount", len(page.entries) + len(page.prefixes)),
            ("IsTruncated", page.next_after is not None),
            ("ContinuationToken", token),
            ("NextContinuationToken", _token(page.next_after)),
            ("StartAfter", encode(start) or None),
            *_content(page, encode, owner),
        ],
    )


async def list_objects_v1(ctx: Context, call: Call) -> Answer:
    marker = call.arguments.get("marker", "")
    encode, limit = encoding_of(call), limit_of(call, "max-keys", MAX_KEYS)
    page = await _page(ctx, call, marker, limit)
    # Without a delimiter, S3 leaves the last key to be taken for the next marker.
    following = page.next_after if call.arguments.get("delimiter") else None
    return xml.answer(
        "ListBucketResult",
        [
            *_head(call, encode, limit),
            ("Marker", encode(marker)),
            ("NextMarker", None if following is None else encode(following)),
            ("IsTruncated", page.next_after is not None),
            *_content(page, encode, OWNER),
        ],
    )


def limit_of(call: Call, name: str, largest: int) -> int:
    """How many the client wants at most; never more than S3 gives."""
    value = call.arguments.get(name, str(largest))
    if not (value.isascii() and value.isdecimal() and len(value) < 11):
        raise invalid(f"Provided {name} not an integer or within integer range")
    return min(int(value), largest)


async def _page(ctx: Context, call: Call, after: str, limit: int) -> Page:
    return await ctx.run(
        ctx.files.list,
        call.bucket,
        prefix=call.arguments.get("prefix", ""),
        delimiter=call.arguments.get("delimiter", ""),
        after=after,
        limit=limit,
    )


def _head(call: Call, encode: Encode, limit: int) -> list[tuple[str, xml.Value]]:
    return [
        ("Name", call.bucket),
        ("Prefix", encode(call.arguments.get("prefix", ""))),
        ("Delimiter", encode(call.arguments.get("delimiter", "")) or None),
        ("MaxKeys", limit),
        ("EncodingType", call.arguments.get("encoding-type")),
    ]


def _content(
    page: Page, encode: Encode, owner: tuple[tuple[str, xml.Value], ...] | None
) -> list[tuple[str, xml.Value]]:
    prefixes = [("CommonPrefixes", (("Prefix", encode(prefix)),)) for prefix in page.prefixes]
    return [*(_object(entry, encode, owner) for entry in page.entries), *prefixes]


def _object(
    entry: Entry, encode: Encode, owner: tuple[tuple[str, xml.Value], ...] | None
) -> tuple[str, xml.Value]:
    return (
        "Contents",
        (
            ("Key", encode(entry.key)),
            ("LastModified", entry.modified_at),
            ("ETag", f'"{entry.etag}"'),
            ("Size", entry.size_bytes),
            ("Owner", owner),
            ("StorageClass", "STANDARD"),
        ),
    )


def encoding_of(call: Call) -> Encode:
    """How keys are written into the answer."""
    match call.arguments.get("encoding-type"):
        case None:
            return str
        case "url":
            return xml.url_encoded
        case _:
            raise invalid("Invalid Encoding Method specified in Request")


def _token(after: str | None) -> str | None:
    """Opaque, so that no client builds one; the server keeps nothing for it."""
    return None if after is None else base64.urlsafe_b64encode(_TOKEN + after.encode()).decode()


def _after(token: str) -> str:
    try:
        content = base64.urlsafe_b64decode(token)
        if content.startswith(_TOKEN):
            return content.removeprefix(_TOKEN).decode()
    except ValueError:
        pass
    raise invalid("The continuation token provided is incorrect")

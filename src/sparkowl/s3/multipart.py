"""What S3 does with multipart uploads.

The checksums that clients may send with CompleteMultipartUpload are not verified: each part was,
when it arrived, and the ETags in the list say which parts are meant.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from sparkowl.objects.errors import NoSuchKey
from sparkowl.objects.uploads import MAX_PARTS, Upload
from sparkowl.s3 import body, conditions, xml
from sparkowl.s3.buckets import MAX_DOCUMENT_BYTES, OWNER
from sparkowl.s3.calls import Answer, Call, Context
from sparkowl.s3.errors import invalid, not_implemented
from sparkowl.s3.hosts import bucket_in
from sparkowl.s3.listings import encoding_of, limit_of
from sparkowl.s3.objects import (
    about_of,
    check_copy,
    checksum_headers,
    pour,
    quoted,
    source_of,
)

_COPY_RANGE: Final = re.compile(r"bytes=[0-9]{1,18}-[0-9]{1,18}")


async def create_multipart_upload(ctx: Context, call: Call) -> Answer:
    about = about_of(call.headers)
    upload_id = await ctx.run(ctx.uploads.create, call.bucket, call.key, about)
    return xml.answer(
        "InitiateMultipartUploadResult",
        [("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload_id)],
    )


async def upload_part(ctx: Context, call: Call) -> Answer:
    number = _number(call)
    upload = await _upload(ctx, call)
    draft = await ctx.run(ctx.files.draft)
    try:
        checksums = await body.take_in(ctx, call, draft, body.MAX_OBJECT_BYTES)
        etag = await ctx.run(ctx.uploads.keep, upload, number, draft)
    finally:
        await ctx.run(draft.discard)
    return Answer(headers={"etag": quoted(etag), **checksum_headers(checksums)})


async def upload_part_copy(ctx: Context, call: Call) -> Answer:
    number, source = _number(call), source_of(call)
    upload = await _upload(ctx, call)

    def copy() -> str:
        with ctx.files.open(source.bucket, source.key) as reader, ctx.files.draft() as draft:
            check_copy(call, reader.entry)
            pour(reader, draft, *_copied_range(call, reader.entry.size_bytes))
            return ctx.uploads.keep(upload, number, draft)

    etag = await ctx.run(copy)
    parts = await ctx.run(ctx.uploads.parts, upload)
    modified_at = next((part.modified_at for part in parts if part.number == number), None)
    return xml.answer("CopyPartResult", [("ETag", quoted(etag)), ("LastModified", modified_at)])


async def complete_multipart_upload(ctx: Context, call: Call) -> Answer:
    upload = await _upload(ctx, call)
    condition = conditions.of_write(call.headers)
    try:
        await ctx.run(ctx.files.check, call.bucket, call.key, condition)
    except NoSuchKey as error:
        raise conditions.failed("If-Match") from error
    wanted = await _parts(ctx, call)
    entry = await ctx.run(ctx.uploads.complete, upload, wanted, condition)
    return xml.answer(
        "CompleteMultipartUploadResult",
        [
            ("Location", _location(call)),
            ("Bucket", call.bucket),
            ("Key", call.key),
            ("ETag", quoted(entry.etag)),
        ],
    )


async def abort_multipart_upload(ctx: Context, call: Call) -> Answer:
    upload = await _upload(ctx, call)
    await ctx.run(ctx.uploads.abort, upload)
    return Answer(status=204)


async def list_parts(ctx: Context, call: Call) -> Answer:
    upload = await _upload(ctx, call)
    marker = call.arguments.get("part-number-marker")
    after = limit_of(call, "part-number-marker", MAX_PARTS) if marker else 0
    limit = limit_of(call, "max-parts", 1000)
    there = [p for p in await ctx.run(ctx.uploads.parts, upload) if p.number > after]
    parts = there[:limit]
    truncated = len(there) > limit
    return xml.answer(
        "ListPartsResult",
        [
            ("Bucket", call.bucket),
            ("Key", call.key),
            ("UploadId", upload.id),
            ("Initiator", OWNER),
            ("Owner", OWNER),
            ("StorageClass", "STANDARD"),
            ("PartNumberMarker", after),
            ("NextPartNumberMarker", parts[-1].number if parts and truncated else None),
            ("MaxParts", limit),
            ("IsTruncated", truncated),
            *(
                (
                    "Part",
                    (
                        ("PartNumber", part.number),
                        ("LastModified", part.modified_at),
                        ("ETag", quoted(part.etag)),
                        ("Size", part.size_bytes),
                    ),
                )
                for part in parts
            ),
        ],
    )


async def list_multipart_uploads(ctx: Context, call: Call) -> Answer:
    """By key, and those of one key by id, so that a page can begin behind any."""
    await ctx.run(ctx.files.folder, call.bucket)
    if call.arguments.get("delimiter"):
        raise not_implemented("Listing multipart uploads with a delimiter")
    prefix = call.arguments.get("prefix", "")
    key_marker = call.arguments.get("key-marker", "")
    id_marker = call.arguments.get("upload-id-marker", "") if key_marker else ""
    limit = limit_of(call, "max-uploads", 1000)
    encode = encoding_of(call)
    there = [
        upload
        for upload in await ctx.run(ctx.uploads.list, call.bucket)
        if upload.key.startswith(prefix) and _follows(upload, key_marker, id_marker)
    ]
    there.sort(key=lambda upload: (upload.key, upload.id))
    page = there[:limit]
    last = page[-1] if page and len(there) > limit else None
    return xml.answer(
        "ListMultipartUploadsResult",
        [
            ("Bucket", call.bucket),
            ("Prefix", encode(prefix)),
            ("KeyMarker", encode(key_marker)),
            ("UploadIdMarker", id_marker),
            ("NextKeyMarker", encode(last.key) if last else None),
            ("NextUploadIdMarker", last.id if last else None),
            ("EncodingType", call.arguments.get("encoding-type")),
            ("MaxUploads", limit),
            ("IsTruncated", last is not None),
            *(
                (
                    "Upload",
                    (
                        ("Key", encode(upload.key)),
                        ("UploadId", upload.id),
                        ("Initiator", OWNER),
                        ("Owner", OWNER),
                        ("StorageClass", "STANDARD"),
                        ("Initiated", upload.started_at),
                    ),
                )
                for upload in page
            ),
        ],
    )


def _follows(upload: Upload, key_marker: str, id_marker: str) -> bool:
    if id_marker and upload.key == key_marker:
        return upload.id > id_marker
    return upload.key > key_marker


def _location(call: Call) -> str:
    """The object's URL, in the style that the client speaks."""
    host = call.headers.get("host", "")
    bucket = "" if bucket_in(host) else f"/{call.bucket}"
    return f"http://{host}{bucket}/{xml.url_encoded(call.key)}"


async def _upload(ctx: Context, call: Call) -> Upload:
    await ctx.run(ctx.files.folder, call.bucket)
    return await ctx.run(ctx.uploads.get, call.bucket, call.key, call.arguments["uploadId"])


def _number(call: Call) -> int:
    value = call.arguments.get("partNumber", "")
    if not (value.isascii() and value.isdecimal() and len(value) < 6):
        value = "0"
    if not 1 <= int(value) <= MAX_PARTS:
        raise invalid(f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    return int(value)


async def _parts(ctx: Context, call: Call) -> list[tuple[int, str]]:
    document = body.Memory()
    # The checksum headers of this call are those of the object, not of the list in its body.
    await body.take_in(ctx, _without_checksums(call), document, MAX_DOCUMENT_BYTES)
    tree = xml.parse(bytes(document.data), "CompleteMultipartUpload")
    parts = []
    for part in tree.findall("Part"):
        number = part.findtext("PartNumber", "").strip()
        if not (number.isascii() and number.isdecimal() and len(number) < 6):
            raise xml.malformed()
        parts.append((int(number), part.findtext("ETag", "").strip().strip('"')))
    return parts


def _without_checksums(call: Call) -> Call:
    kept = {n: v for n, v in call.headers.items() if not n.startswith("x-amz-checksum-")}
    return replace(call, headers=kept)


def _copied_range(call: Call, size_bytes: int) -> tuple[int, int]:
    """Offset and length; unlike the range of a read, this one must be there in full."""
    header = call.headers.get("x-amz-copy-source-range")
    if header is None:
        return 0, size_bytes
    if not _COPY_RANGE.fullmatch(header):
        raise invalid("The x-amz-copy-source-range value must be of the form bytes=first-last")
    first, last = (int(text) for text in header.removeprefix("bytes=").split("-"))
    if not first <= last < size_bytes:
        raise invalid(f"Range specified is not valid for source object of size: {size_bytes}")
    return first, last + 1 - first

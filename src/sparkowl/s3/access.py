"""Which permissions each operation needs, and on what: S3's own, on ARNs of buckets and objects.

The table is that of the S3 User Guide, "Required permissions for Amazon S3 API operations". Every
operation of :mod:`.routes` has a row, or it cannot be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sparkowl.domain.policy import ROOT
from sparkowl.s3 import buckets, listings, multipart, objects
from sparkowl.s3.calls import Call, arn_of
from sparkowl.s3.errors import access_denied
from sparkowl.s3.objects import source_of

Needed = Iterator[tuple[str, str]]
Rule = Callable[[Call], Needed]
Operation = Callable[..., Any]


def _on_service(action: str) -> Rule:
    """AWS's examples say ``*`` or ``arn:aws:s3:::*``; both are meant."""

    def needed(call: Call) -> Needed:
        yield action, arn_of("*")

    return needed


def _on_bucket(action: str) -> Rule:
    def needed(call: Call) -> Needed:
        yield action, arn_of(call.bucket)

    return needed


def _on_object(action: str) -> Rule:
    """If-Match tells whoever changes an object what its ETag is, and so is a way of reading."""

    def needed(call: Call) -> Needed:
        yield action, arn_of(call.bucket, call.key)
        if action in _CHANGING and "if-match" in call.headers:
            yield "s3:GetObject", arn_of(call.bucket, call.key)

    return needed


def _copying(call: Call) -> Needed:
    source = source_of(call)
    yield "s3:GetObject", arn_of(source.bucket, source.key)
    yield from _on_object("s3:PutObject")(call)


def _each_by_itself(call: Call) -> Needed:
    """DeleteObjects asks for each of its keys, and answers for each."""
    return iter(())


_CHANGING: Final = frozenset({"s3:PutObject", "s3:DeleteObject"})

#: All that any rule asks for.
ACTIONS: Final = frozenset(
    {
        "s3:AbortMultipartUpload",
        "s3:CreateBucket",
        "s3:DeleteBucket",
        "s3:DeleteObject",
        "s3:GetBucketLocation",
        "s3:GetBucketVersioning",
        "s3:GetObject",
        "s3:ListAllMyBuckets",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
    }
)

RULES: Final[Mapping[Operation, Rule]] = {
    buckets.list_buckets: _on_service("s3:ListAllMyBuckets"),
    buckets.create_bucket: _on_bucket("s3:CreateBucket"),
    buckets.head_bucket: _on_bucket("s3:ListBucket"),
    buckets.get_bucket_location: _on_bucket("s3:GetBucketLocation"),
    buckets.get_bucket_versioning: _on_bucket("s3:GetBucketVersioning"),
    buckets.delete_bucket: _on_bucket("s3:DeleteBucket"),
    listings.list_objects_v1: _on_bucket("s3:ListBucket"),
    listings.list_objects_v2: _on_bucket("s3:ListBucket"),
    multipart.list_multipart_uploads: _on_bucket("s3:ListBucketMultipartUploads"),
    objects.delete_objects: _each_by_itself,
    objects.put_object: _on_object("s3:PutObject"),
    objects.copy_object: _copying,
    objects.get_object: _on_object("s3:GetObject"),
    objects.delete_object: _on_object("s3:DeleteObject"),
    multipart.create_multipart_upload: _on_object("s3:PutObject"),
    multipart.upload_part: _on_object("s3:PutObject"),
    multipart.upload_part_copy: _copying,
    multipart.complete_multipart_upload: _on_object("s3:PutObject"),
    multipart.abort_multipart_upload: _on_object("s3:AbortMultipartUpload"),
    multipart.list_parts: _on_object("s3:ListMultipartUploadParts"),
}


def require(operation: Operation, call: Call) -> None:
    """Refuse a call unless its caller's policy allows all that it needs."""
    if call.caller is ROOT:
        return
    for action, arn in RULES[operation](call):
        if not call.caller.allows(action, arn):
            raise access_denied()


def hides_missing(call: Call) -> bool:
    """Whether a missing object must look like a forbidden one: to whoever may not list them."""
    names = {call.bucket}
    if "x-amz-copy-source" in call.headers:
        names.add(source_of(call).bucket)
    return not all(call.caller.allows("s3:ListBucket", arn_of(name)) for name in names)


#: Arguments of a URL that the audit log shows. Those that sign it are not among them.
_SHOWN: Final = (
    "prefix",
    "delimiter",
    "marker",
    "start-after",
    "max-keys",
    "uploadId",
    "partNumber",
    "list-type",
)


def shown(call: Call) -> dict[str, str]:
    """The parameters of a call for the audit log."""
    found = {name: call.arguments[name] for name in _SHOWN if name in call.arguments}
    source = call.headers.get("x-amz-copy-source")
    return found if source is None else {**found, "copySource": source}


def name_of(operation: Operation, call: Call) -> str:
    """The operation in S3's words."""
    if operation is objects.get_object and call.method == "HEAD":
        return "HeadObject"
    return "".join(part.capitalize() for part in operation.__name__.split("_"))

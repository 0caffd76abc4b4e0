"""Which operation a call is. This table is the API; what is not in it is refused by name.

S3 has no name of the operation on the wire: it follows from the method, from what the path names,
and from an argument without a meaning of its own, the "sub-resource".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sparkowl.s3 import buckets, listings, multipart, objects
from sparkowl.s3.calls import Answer, Call, Context
from sparkowl.s3.errors import S3Error, not_implemented

Operation = Callable[[Context, Call], Awaitable[Answer]]

SERVICE: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", ""): buckets.list_buckets,
}
BUCKET: Final[Mapping[tuple[str, str], Operation]] = {
    ("PUT", ""): buckets.create_bucket,
    ("HEAD", ""): buckets.head_bucket,
    ("GET", "location"): buckets.get_bucket_location,
    ("GET", "versioning"): buckets.get_bucket_versioning,
    ("DELETE", ""): buckets.delete_bucket,
    ("GET", ""): listings.list_objects_v1,
    ("GET", "list-type"): listings.list_objects_v2,
    ("GET", "uploads"): multipart.list_multipart_uploads,
    ("POST", "delete"): objects.delete_objects,
}
OBJECT: Final[Mapping[tuple[str, str], Operation]] = {
    ("PUT", ""): objects.put_object,
    ("PUT", "copy"): objects.copy_object,
    ("GET", ""): objects.get_object,
    ("HEAD", ""): objects.get_object,
    ("DELETE", ""): objects.delete_object,
    ("POST", "uploads"): multipart.create_multipart_upload,
    ("PUT", "uploadId"): multipart.upload_part,
    ("PUT", "uploadId copy"): multipart.upload_part_copy,
    ("POST", "uploadId"): multipart.complete_multipart_upload,
    ("DELETE", "uploadId"): multipart.abort_multipart_upload,
    ("GET", "uploadId"): multipart.list_parts,
}

_SUBRESOURCES: Final = ("uploads", "uploadId", "delete", "location", "list-type", "versioning")
#: Sub-resources of S3 that have no operation here, but for what has a row above.
# fmt: off
_REFUSED: Final = frozenset({
    "abac", "accelerate", "acl", "analytics", "append", "attributes", "cors", "encryption",
    "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "logging",
    "metadataConfiguration", "metadataTable", "metrics", "notification", "object-lock",
    "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject",
    "replication", "requestPayment", "restore", "retention", "select", "session", "tagging",
    "torrent", "versioning", "versions", "website",
})
# fmt: on
#: Headers that change what an object is, and so must not be passed over in silence. (That it be
#: encrypted at rest with a key of the server's is up to the operator's disk, and is passed over.)
_REFUSED_HEADERS: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("x-amz-acl", frozenset(("private", "bucket-owner-full-control"))),
    ("x-amz-copy-source-server-side-encryption-customer-algorithm", frozenset()),
    ("x-amz-object-lock-legal-hold", frozenset(("OFF",))),
    ("x-amz-object-lock-mode", frozenset()),
    ("x-amz-server-side-encryption-customer-algorithm", frozenset()),
    ("x-amz-tagging", frozenset(("",))),
    ("x-amz-website-redirect-location", frozenset()),
    ("x-amz-write-offset-bytes", frozenset()),
)


def route(call: Call) -> Operation:
    """The operation of a call; a refusal that says what is missing."""
    _refuse_unsupported(call)
    operation = _table(call).get((call.method, _subresource(call)))
    if operation is None:
        raise S3Error(
            "MethodNotAllowed", 405, "The specified method is not allowed against this resource."
        )
    return operation


def _table(call: Call) -> Mapping[tuple[str, str], Operation]:
    if call.key:
        return OBJECT
    return BUCKET if call.bucket else SERVICE


def _subresource(call: Call) -> str:
    name = next((name for name in _SUBRESOURCES if name in call.arguments), "")
    if call.method == "PUT" and "x-amz-copy-source" in call.headers:
        return f"{name} copy".strip()
    return name


def _refuse_unsupported(call: Call) -> None:
    rows = _table(call)
    asked = _REFUSED.intersection(call.arguments)
    refused = sorted(name for name in asked if (call.method, name) not in rows)
    if refused:
        raise not_implemented(f"The sub-resource ?{refused[0]}")
    if call.arguments.get("versionId", "null") != "null":
        raise not_implemented("Reading a version")
    if "partNumber" in call.arguments and "uploadId" not in call.arguments:
        raise not_implemented("Reading a part by its number")
    for name, harmless in _REFUSED_HEADERS:
        if name in call.headers and call.headers[name] not in harmless:
            raise not_implemented(f"The header {name}")

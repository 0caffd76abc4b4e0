"""AWS Signature Version 2, for presigned S3 URLs only.

boto3 and the AWS command line still make these by default in ``us-east-1`` and other old regions.
Version 2 never covers a body, so nothing but a query that carries its own expiry is accepted; the
``Authorization: AWS …`` header is not. The algorithm is that of the S3 developer guide, "Signing
and Authenticating REST Requests (AWS Signature Version 2)", query string form.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from sparkowl.protocol.sigv4 import (
    UNSIGNED_PAYLOAD,
    IncompleteSignature,
    PresignExpired,
    Signature,
    SignatureMismatch,
    SignedRequest,
    UnknownKey,
    combined,
    parameters,
)

#: Arguments that are part of what was asked for, and so of the signature.
# fmt: off
_RESOURCES: Final = frozenset({
    "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory",
    "lifecycle", "location", "logging", "metrics", "notification", "object-lock", "partNumber",
    "policy", "replication", "requestPayment", "response-cache-control",
    "response-content-disposition", "response-content-encoding", "response-content-language",
    "response-content-type", "response-expires", "restore", "select", "select-type", "storageClass",
    "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
})
# fmt: on
#: Epoch seconds of the year 9999, the last that ``datetime`` can hold.
_LAST_EXPIRY: Final = 253_402_300_799


def claimed(query: str) -> bool:
    """Whether a query claims to be signed by Version 2."""
    return "AWSAccessKeyId=" in query and "Signature=" in query


def claimed_key(query: str) -> str:
    """The access key id that a query names. Nothing is proven by it."""
    return parameters(query).get("AWSAccessKeyId", "")


def verify(
    request: SignedRequest,
    *,
    secret_of: Callable[[str], str | None],
    now: datetime,
    bucket: str = "",
) -> Signature:
    """The claim of a presigned URL, proven; or a :class:`~.sigv4.SignatureError`.

    ``bucket`` is the one that the host names: the signature, which does not cover the host, has it
    as the beginning of the path.
    """
    arguments = parameters(request.query)
    key_id, given, expires = (
        arguments.get(name, "") for name in ("AWSAccessKeyId", "Signature", "Expires")
    )
    if not (key_id and given and expires.isdecimal() and len(expires) <= 12):
        raise IncompleteSignature(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters"
        )
    expires_at = datetime.fromtimestamp(min(int(expires), _LAST_EXPIRY), UTC)
    if expires_at < now:
        raise PresignExpired("Request has expired")
    secret = secret_of(key_id)
    if secret is None or "x-amz-security-token" in arguments:
        raise UnknownKey("The AWS Access Key Id you provided does not exist in our records.")
    text = _string_to_sign(request, arguments, expires, bucket)
    expected = base64.b64encode(hmac.digest(secret.encode(), text.encode("latin-1"), "sha1"))
    if not hmac.compare_digest(expected, given.encode("latin-1")):
        raise SignatureMismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
    return Signature(key_id, "", "s3", now, given, b"", UNSIGNED_PAYLOAD)


def _string_to_sign(
    request: SignedRequest, arguments: Mapping[str, str], expires: str, bucket: str
) -> str:
    headers = _headers(request, arguments)
    lines = [request.method, headers.get("content-md5", ""), headers.get("content-type", "")]
    lines.append(expires)
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-amz-")]
    return "\n".join([*lines, _resource(request, bucket)])


def _headers(request: SignedRequest, arguments: Mapping[str, str]) -> dict[str, str]:
    """The headers of the request; what the URL carries of them counts where one is absent."""
    lowered = {name.lower(): value for name, value in arguments.items()}
    hoisted = {
        name: value
        for name, value in lowered.items()
        if name.startswith("x-amz-") or name in ("content-md5", "content-type")
    }
    return hoisted | combined(request.headers)


def _resource(request: SignedRequest, bucket: str) -> str:
    path = f"/{bucket}{request.raw_path}" if bucket else request.raw_path
    kept = []
    for pair in request.query.split("&"):
        escaped, equals, value = pair.partition("=")
        # Decoded first: an added "%75pload" must not slip past what the signature covers.
        name = unquote(escaped, "latin-1")
        if name in _RESOURCES:
            kept.append((name, equals, unquote(value, "latin-1") if equals else ""))
    kept.sort(key=lambda part: part[0])
    query = "&".join(["".join(part) for part in kept])
    return f"{path}?{query}" if query else path

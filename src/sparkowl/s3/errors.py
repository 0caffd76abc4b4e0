"""How a refusal looks on the wire: S3's codes and statuses, in one table.

The codes are those of the S3 API reference, "Error responses".
"""

from __future__ import annotations

import errno
from typing import Final

from sparkowl.objects import errors as objects
from sparkowl.protocol import sigv4


class S3Error(Exception):
    """A refusal that has its code and status already."""

    def __init__(self, code: str, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = headers


class ClientGone(Exception):
    """The connection ended before the body did: there is nobody to answer."""


#: The more special class stands before the more general one.
_REFUSALS: Final[tuple[tuple[type[Exception], str, int], ...]] = (
    (objects.NoSuchBucket, "NoSuchBucket", 404),
    (objects.NoSuchKey, "NoSuchKey", 404),
    (objects.NoSuchUpload, "NoSuchUpload", 404),
    (objects.InvalidBucketName, "InvalidBucketName", 400),
    (objects.BucketAlreadyExists, "BucketAlreadyOwnedByYou", 409),
    (objects.BucketNotEmpty, "BucketNotEmpty", 409),
    (objects.KeyTooLong, "KeyTooLongError", 400),
    (objects.InvalidKey, "InvalidURI", 400),
    # S3 has no such conflict, and so no code for it.
    (objects.KeyConflict, "KeyConflict", 409),
    (objects.PreconditionFailed, "PreconditionFailed", 412),
    (objects.MetadataTooLarge, "MetadataTooLarge", 400),
    (objects.InvalidPart, "InvalidPart", 400),
    (objects.InvalidPartOrder, "InvalidPartOrder", 400),
    (objects.PartTooSmall, "EntityTooSmall", 400),
    (sigv4.MissingSignature, "AccessDenied", 403),
    (sigv4.IncompleteSignature, "AuthorizationHeaderMalformed", 400),
    (sigv4.UnknownKey, "InvalidAccessKeyId", 403),
    (sigv4.UnsignedHeaders, "AccessDenied", 403),
    (sigv4.SignatureMismatch, "SignatureDoesNotMatch", 403),
    (sigv4.PresignExpired, "AccessDenied", 403),
    (sigv4.SignatureExpired, "RequestTimeTooSkewed", 403),
)


#: The disk, the quota on it, and the largest file that the disk or a limit of the process allows.
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def translated(error: Exception) -> S3Error | None:
    """A refusal as S3 would put it; None for what is nobody's fault but ours."""
    if isinstance(error, S3Error):
        return error
    for kind, code, status in _REFUSALS:
        if isinstance(error, kind):
            return S3Error(code, status, str(error))
    if isinstance(error, PermissionError):
        return S3Error("AccessDenied", 403, "The server may not read or write this file.")
    if isinstance(error, OSError) and error.errno in _FULL:
        # Not a 5xx that clients repeat at once: the disk does not empty itself.
        return S3Error(
            "InsufficientStorage", 507, f"The disk that holds the buckets: {error.strerror}"
        )
    return None


def invalid(message: str, code: str = "InvalidArgument") -> S3Error:
    """A 400."""
    return S3Error(code, 400, message)


def access_denied() -> S3Error:
    """S3 says no more than this."""
    return S3Error("AccessDenied", 403, "Access Denied")


def not_implemented(what: str) -> S3Error:
    """S3 has it, and this server does not."""
    return S3Error(
        "NotImplemented",
        501,
        f"{what} is not implemented: buckets here are plain folders, without versions, policies, "
        "access lists, tags, locks or encryption of their own.",
    )

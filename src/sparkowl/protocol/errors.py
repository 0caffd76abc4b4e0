"""Our errors as AWS's: code, HTTP status and members.

Modelled errors are 400 but for InternalServerException. The signature errors are AWS's common ones;
an unknown operation is 400 as the SDKs know it, though the documentation says 404.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sparkowl.domain.errors import (
    AccessDenied,
    InvalidRequest,
    ResourceNotFound,
    SessionAlreadyExists,
    Throttled,
    TooManyRequests,
    UnknownOperation,
)
from sparkowl.protocol.sigv4 import (
    IncompleteSignature,
    MissingSignature,
    SignatureExpired,
    SignatureMismatch,
    UnknownKey,
)


class BodyTooLarge(Exception):
    """The request body is over the server's limit."""


@dataclass(frozen=True, slots=True)
class WireError:
    """How an error looks on the wire."""

    code: str
    status: int
    members: Mapping[str, str] = field(default_factory=dict)


INTERNAL: Final = WireError("InternalServerException", 500)

#: Codes that AWS may answer to any operation (its page of common errors).
COMMON_CODES: Final = frozenset(
    {
        "UnknownOperationException",
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "RequestEntityTooLargeException",
        "InternalServerException",
        "AccessDeniedException",
        "ThrottlingException",
    }
)

_TABLE: Final[Mapping[type[Exception], WireError]] = {
    InvalidRequest: WireError("InvalidRequestException", 400, {"AthenaErrorCode": "INVALID_INPUT"}),
    ResourceNotFound: WireError("ResourceNotFoundException", 400),
    AccessDenied: WireError("AccessDeniedException", 403),
    Throttled: WireError("ThrottlingException", 400),
    TooManyRequests: WireError("TooManyRequestsException", 400),
    SessionAlreadyExists: WireError("SessionAlreadyExistsException", 400),
    UnknownOperation: WireError("UnknownOperationException", 400),
    MissingSignature: WireError("MissingAuthenticationTokenException", 403),
    IncompleteSignature: WireError("IncompleteSignatureException", 403),
    UnknownKey: WireError("UnrecognizedClientException", 403),
    SignatureMismatch: WireError("InvalidSignatureException", 403),
    SignatureExpired: WireError("InvalidSignatureException", 403),
    BodyTooLarge: WireError("RequestEntityTooLargeException", 413),
}


def wire_error(error: Exception) -> WireError:
    """What ``error`` is on the wire: as the nearest of its kinds that the table has.

    An error that is not the caller's is INTERNAL.
    """
    wire = next((_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE), INTERNAL)
    if isinstance(error, ResourceNotFound) and error.resource_name:
        return replace(wire, members={"ResourceName": error.resource_name})
    return wire


def known() -> Mapping[type[Exception], WireError]:
    """The whole table, for the tests that compare it with the model."""
    return _TABLE

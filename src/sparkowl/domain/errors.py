"""The errors that mean something to a caller or to a caller of the store.

::

    RequestError                 the API's caller can act on it; reaches the wire as itself
      ├── InvalidRequest         the request breaks a rule, or names something that is not there
      ├── ResourceNotFound       an ARN names nothing that is there
      ├── AccessDenied           the caller's policy does not allow it
      ├── Throttled              too many calls in a short time
      ├── TooManyRequests        a limit on concurrent work is reached
      ├── SessionAlreadyExists   the notebook has an active session
      └── UnknownOperation       no such operation, or one that is not built
    Conflict                     the row moved since it was read; look again
    IllegalTransition            a bug: an event that the table does not foresee
"""

from __future__ import annotations


class RequestError(Exception):
    """A mistake the caller can mend. Its text is written for the caller."""


class InvalidRequest(RequestError):
    """The request breaks a rule, or names something that does not exist."""


class ResourceNotFound(RequestError):
    """An ARN names a resource that does not exist."""

    def __init__(self, message: str, resource_name: str = "") -> None:
        super().__init__(message)
        self.resource_name = resource_name


class AccessDenied(RequestError):
    """The caller's policy does not allow it."""


class Throttled(RequestError):
    """More calls in a short time than one key may make. Every SDK tries again, later."""


class TooManyRequests(RequestError):
    """A limit on concurrent work is reached."""


class SessionAlreadyExists(RequestError):
    """The notebook that a session is asked for has an active one already."""


class UnknownOperation(RequestError):
    """The operation does not exist in Athena's API, or SparkOwl has not built it."""


class Conflict(Exception):
    """The row changed between reading and writing; the caller reads again."""


class IllegalTransition(Exception):
    """An event arrived in a state whose table has no row for it."""

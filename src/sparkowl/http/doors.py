"""Which door a request is for."""

from __future__ import annotations

from starlette.types import Scope


def is_athena(scope: Scope) -> bool:
    """An AWS JSON request names its target; S3 never does."""
    if scope["method"] != "POST" or scope["path"] != "/":
        return False
    return any(
        name == b"x-amz-target" or (name == b"content-type" and b"x-amz-json" in value)
        for name, value in scope["headers"]
    )

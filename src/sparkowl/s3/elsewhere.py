"""The S3 door of a server that keeps no buckets: it says where they are."""

from __future__ import annotations

import uuid

from sparkowl.s3.calls import Receive, Scope, Send, signed_request
from sparkowl.s3.errors import S3Error
from sparkowl.s3.sending import refused, start_of


class Elsewhere:
    """An ASGI application that answers every request with the same refusal.

    Nobody's signature is checked: whoever comes here has keys of the service, not of this server.
    """

    def __init__(self, url: str) -> None:
        """``url``: of the S3 service."""
        self._refusal = S3Error(
            "NotImplemented",
            501,
            f"This server keeps no buckets: s3:// is the service at {url}. Point your client there "
            f"(AWS_ENDPOINT_URL_S3={url}), with keys of that service.",
        )

    def close(self) -> None:
        """Nothing is open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The S3 door speaks HTTP only, not {scope['type']}.")
        request_id = uuid.uuid4().hex[:16].upper()
        answer = refused(self._refusal, signed_request(scope).raw_path, request_id)
        # The body is not read, so what comes next must not be taken for it.
        answer.headers |= {"connection": "close", "x-amz-request-id": request_id}
        await send(start_of(answer))
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

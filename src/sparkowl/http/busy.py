"""What is answered where there is no room for one more connection: come back, in AWS's words.

Every SDK tries again after either answer: after ``ThrottlingException`` of a JSON service, and
after ``SlowDown`` of S3 ("Error responses" in S3's API reference).
"""

from __future__ import annotations

from typing import Final

from starlette.types import Receive, Scope, Send

from sparkowl.domain.errors import Throttled
from sparkowl.domain.rates import THROTTLED
from sparkowl.http.doors import is_athena
from sparkowl.protocol.encode import encode_error
from sparkowl.protocol.errors import wire_error

_SLOW_DOWN: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_CODE: Final = wire_error(Throttled()).code


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that refuses. A driver's handshake does not come here, but is taken."""
    if is_athena(scope):
        body = encode_error(_CODE, THROTTLED, {})
        kind, named = b"application/x-amz-json-1.1", [(b"x-amzn-errortype", _CODE.encode())]
    else:
        body, kind, named = _SLOW_DOWN, b"application/xml", []
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
        *named,
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})

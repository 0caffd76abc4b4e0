"""The S3 door, top to bottom: verify, route, authorise, call, answer.

Nothing of a body is asked for before the signature, the bucket and the conditions have been
checked: the server says "100 Continue" when an operation begins to read, not before.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sparkowl.access.audit import CANCELLED, CLIENT_GONE, Audit, Record
from sparkowl.access.keyring import Caller, Keyring, secret_of
from sparkowl.clock import Clock
from sparkowl.objects.errors import NoSuchKey
from sparkowl.objects.files import Files
from sparkowl.objects.uploads import Uploads
from sparkowl.protocol import sigv2, sigv4
from sparkowl.protocol.sigv4 import Signature, SignedRequest
from sparkowl.s3 import access
from sparkowl.s3.calls import (
    Answer,
    Context,
    Message,
    Receive,
    Scope,
    Send,
    arn_of,
    bucket_of_host,
    read,
    signed_request,
)
from sparkowl.s3.errors import ClientGone, S3Error, access_denied, invalid, translated
from sparkowl.s3.routes import route
from sparkowl.s3.sending import refused, send_answer

log = logging.getLogger(__name__)

#: Enough to keep a disk busy while others compute MD5s; more would only fight for the cores.
_THREADS: Final = 8
_READS: Final = frozenset(("GET", "HEAD"))
#: A browser may be shown an object as a page, with scripts, but never as one of this server's own:
#: notebooks have the same origin. Such a page has an origin of its own, and no cookies.
_SANDBOX: Final = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"
_INTERNAL: Final = (
    "We encountered an internal error. The server's log has it under this request id."
)


class S3Door:
    """An ASGI application that serves the buckets of a store to whoever has a key."""

    def __init__(
        self,
        files: Files,
        keyring: Keyring,
        audit: Audit,
        clock: Clock,
        region: str,
    ) -> None:
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._ctx = Context(files, Uploads(files), region, threads)

    def close(self) -> None:
        """Let the threads end. Nothing may be under way any more."""
        self._ctx.threads.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The S3 door speaks HTTP only, not {scope['type']}.")
        request_id = uuid.uuid4().hex[:16].upper()
        request = signed_request(scope)
        body = _Body(receive)
        record = self._audit.begin(
            "s3", request_id, scope.get("client"), dict(request.headers), self._clock.now()
        )
        try:
            answer = await self._answer(request, body, record)
        except ClientGone:
            log.info("the client left before its body had come", extra={"request_id": request_id})
            record.error = CLIENT_GONE
            self._audit.write(record)
            return
        except asyncio.CancelledError:
            record.error = CANCELLED
            self._audit.write(record)
            raise
        if record.error is None and request.method in _READS:
            self._audit.note(record)
        else:
            self._audit.write(record)
        if not body.asked_for and _waits(request):
            # The body never comes now; but what comes next would be taken for it.
            answer.headers["connection"] = "close"
        answer.headers["x-amz-request-id"] = request_id
        answer.headers["content-security-policy"] = _SANDBOX
        await send_answer(self._ctx, answer, request.method, receive, send)

    async def _answer(self, request: SignedRequest, body: _Body, record: Record) -> Answer:
        try:
            answer = await self._called(request, body, record)
        except ClientGone:
            raise
        except Exception as error:
            refusal = translated(error)
            if refusal is None:
                log.exception("an S3 call failed", extra={"request_id": record.request_id})
                refusal = S3Error("InternalError", 500, _INTERNAL)
            answer = refused(refusal, request.raw_path, record.request_id)
            record.error = refusal.code
        record.status = answer.status
        # Clients poll: reads that go as they should are for debugging only. 416 is how a reader
        # learns that a growing object has nothing new.
        reading = request.method in _READS and answer.status in {200, 206, 304, 416}
        log.log(
            logging.DEBUG if reading else logging.INFO,
            "answered",
            extra={
                "request_id": record.request_id,
                "operation": record.operation or "?",
                "status": answer.status,
            },
        )
        return answer

    async def _called(self, request: SignedRequest, body: _Body, record: Record) -> Answer:
        signature, caller = await self._verified(request, record)
        record.principal = caller.principal.name
        call = read(request, signature, caller.principal, body)
        record.resource = arn_of(call.bucket or "*", call.key)
        record.parameters = access.shown(call)
        act = route(call)
        record.operation = access.name_of(act, call)
        access.require(act, call)
        try:
            return await act(self._ctx, call)
        except NoSuchKey as error:
            if access.hides_missing(call):
                raise access_denied() from error
            raise

    async def _verified(self, request: SignedRequest, record: Record) -> tuple[Signature, Caller]:
        old = sigv2.claimed(request.query)
        if old and any(name == "authorization" for name, _ in request.headers):
            # Of two claims only one would be checked; and with this header the arguments that the
            # URL was signed with would not count as headers, so another call would be made of it.
            raise invalid(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified"
            )
        record.access_key_id = (
            sigv2.claimed_key(request.query) if old else sigv4.claimed_key(request)
        )
        caller = await self._keyring.find(record.access_key_id)
        secret, now = secret_of(caller), self._clock.now()
        if old:
            signature = sigv2.verify(
                request, secret_of=secret, now=now, bucket=bucket_of_host(request)
            )
        else:
            signature = sigv4.verify(request, secret_of=secret, now=now, service="s3")
        assert caller is not None  # whose secret it was signed with
        return signature, caller


class _Body:
    """ASGI's ``receive`` that remembers whether anybody asked for the body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.asked_for = False

    async def __call__(self) -> Message:
        self.asked_for = True
        return await self._receive()


def _waits(request: SignedRequest) -> bool:
    """Whether the client holds its body back until it is asked for it."""
    return any(name == "expect" for name, _ in request.headers)

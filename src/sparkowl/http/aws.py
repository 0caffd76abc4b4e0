"""Athena's door: one request from bytes to bytes, top to bottom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final, TypeVar
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from sparkowl import telemetry
from sparkowl.access.audit import CANCELLED, CLIENT_GONE, Audit, Record
from sparkowl.access.keyring import Keyring, secret_of
from sparkowl.domain.errors import RequestError, UnknownOperation
from sparkowl.domain.rates import Rates
from sparkowl.http.bounds import InFlight
from sparkowl.operations import OPERATIONS, Context
from sparkowl.operations.access import Guard
from sparkowl.protocol.decode import decode, operation_of
from sparkowl.protocol.encode import encode, encode_error
from sparkowl.protocol.errors import INTERNAL, BodyTooLarge, wire_error
from sparkowl.protocol.sigv4 import SignatureError, SignedRequest, claimed_key, examine

log = logging.getLogger(__name__)

T = TypeVar("T")
#: Ids of what a call made, as the audit log has them.
_MADE: Final = ("SessionId", "CalculationExecutionId")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: status, body, and the error's code if it is one."""

    status: int
    body: bytes
    error: str | None = None


class _ClientGone(Exception):
    """The client left before all of its body had come: there is nobody to answer."""


class AthenaDoor:
    """``POST /`` in AWS JSON 1.1."""

    def __init__(  # noqa: PLR0913  what the request line needs
        self,
        context: Context,
        keyring: Keyring,
        audit: Audit,
        rates: Rates,
        bodies: InFlight,
        body_limit: int,
    ) -> None:
        self._context = context
        self._keyring = keyring
        self._guard = Guard()
        self._audit = audit
        self._rates = rates
        self._bodies = bodies
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid4())
        began = perf_counter()
        headers = _headers(scope)
        target = dict(headers).get("x-amz-target")
        record = self._audit.begin(
            "athena", request_id, scope.get("client"), dict(headers), self._context.clock.now()
        )
        record.operation = (target or "").rpartition(".")[2] or None
        with telemetry.request(request_id):
            body = _Body(receive, headers, self._body_limit, self._bodies)
            try:
                answer = await self._answer(scope, headers, body, record)
            except _ClientGone:
                record.error = CLIENT_GONE
                self._audit.write(record)
                return
            except Exception as error:  # noqa: BLE001  one of the four places: becomes an answer
                answer = _refusal(error)
            except asyncio.CancelledError:
                # The server stops. Whether the call took effect is not known, so it is not silent.
                record.error = CANCELLED
                self._audit.write(record)
                raise
            finally:
                body.forget()
            polling = _report(target, answer, perf_counter() - began)
            record.status, record.error = answer.status, answer.error
            if polling:
                self._audit.note(record)
            else:
                self._audit.write(record)
        await _send(send, answer, request_id, close=body.held_back)

    async def _answer(
        self, scope: Scope, headers: list[tuple[str, str]], coming: _Body, record: Record
    ) -> Answer:
        """The request line: examine, read, verify, count, decode, authorise, call, encode."""
        coming.refuse_declared()
        signed = SignedRequest(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
        )
        record.access_key_id = claimed_key(signed)
        caller = await self._keyring.find(record.access_key_id)
        now = self._context.clock.now()
        claim = examine(signed, secret_of=secret_of(caller), now=now, service="athena")
        # Only now: nobody without a key makes the server hold a body.
        body = await coming.read()
        claim.prove(body)
        assert caller is not None  # whose secret it was signed with
        record.principal = caller.principal.name
        model = operation_of(dict(headers).get("x-amz-target"))
        self._rates.take(caller.access_key_id, model.name, now)
        operation = OPERATIONS.get(model.name)
        if operation is None:
            raise UnknownOperation(
                f"{model.name} is an operation of Athena that SparkOwl has not built."
            )
        call = decode(model, body)
        record.parameters = call.input
        ctx = replace(self._context, caller=caller.principal)
        target = await self._guard.target(ctx, call.operation, call.input)
        record.resource = target.arn
        await self._guard.require(ctx, call.operation, call.input, target)
        work = operation(ctx, call.input)
        starts = call.operation.startswith("Start")
        output = await (_to_its_end(work) if starts else work)
        if starts:
            record.made = {name: output[name] for name in _MADE if name in output}
        return Answer(200, encode(model, output))


async def _to_its_end(work: Awaitable[T]) -> T:
    """A server that stops cancels what takes long, and uvicorn answers 500. A start may be
    committed by then, and the client would start once more: so it is waited for, as long as the
    store's own time limits allow."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


def _report(target: str | None, answer: Answer, seconds: float) -> bool:
    """One line a call; clients poll, so reads that went well are for debugging only.

    Answers whether it was such a read.
    """
    name = (target or "-").rpartition(".")[2][:128]
    polling = answer.status == 200 and name.startswith(("Get", "List"))
    level = logging.DEBUG if polling else logging.INFO
    if log.isEnabledFor(level):
        fields = {"operation": name, "status": answer.status, "error": answer.error}
        log.log(level, "call", extra=fields | {"ms": round(seconds * 1000, 1)})
    return polling


def _refusal(error: Exception) -> Answer:
    wire = wire_error(error)
    if wire is INTERNAL:
        log.error("call failed", exc_info=error)
        message = "Internal error; the server's log has it under this request id."
    else:
        assert isinstance(error, RequestError | SignatureError | BodyTooLarge)
        message = str(error)
    return Answer(wire.status, encode_error(wire.code, message, wire.members), wire.code)


class _Body:
    """The body on its way in. It counts among those in flight until it is forgotten."""

    def __init__(
        self, receive: Receive, headers: list[tuple[str, str]], limit: int, in_flight: InFlight
    ) -> None:
        self._receive = receive
        self._headers = dict(headers)
        self._limit = limit
        self._in_flight = in_flight
        self._size = 0
        self._asked_for = False

    @property
    def held_back(self) -> bool:
        """The client waits for "100 Continue", which it never gets: no body comes any more."""
        return not self._asked_for and "expect" in self._headers

    def refuse_declared(self) -> None:
        """Refuse one that says itself that it is over the limit."""
        declared = self._headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limit:
            raise BodyTooLarge(
                f"The request body has {declared} bytes; at most {self._limit} are allowed."
            )

    async def read(self) -> bytes:
        """All of it; refused before it is read whole when it is over the limit."""
        self._asked_for = True
        parts: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            part = message.get("body", b"")
            self._in_flight.take(len(part))
            self._size += len(part)
            if self._size > self._limit:
                raise BodyTooLarge(f"The request body has more than {self._limit} bytes.")
            parts.append(part)
            if not message.get("more_body"):
                break
        return b"".join(parts)

    def forget(self) -> None:
        """The call has ended."""
        self._in_flight.give(self._size)
        self._size = 0


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


async def _send(send: Send, answer: Answer, request_id: str, *, close: bool) -> None:
    headers = [
        (b"content-type", b"application/x-amz-json-1.1"),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    if answer.error is not None:
        headers.append((b"x-amzn-errortype", answer.error.encode()))
    if close:
        # What comes next would be taken for the body.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

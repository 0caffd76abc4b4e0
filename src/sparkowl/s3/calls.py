"""One call: what was asked for, in the words of S3, and what is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import unquote_to_bytes

from sparkowl.domain.policy import Principal
from sparkowl.objects.files import Files, Reader
from sparkowl.objects.uploads import Uploads
from sparkowl.protocol import sigv4
from sparkowl.protocol.sigv4 import Signature, SignedRequest
from sparkowl.s3.errors import invalid
from sparkowl.s3.hosts import bucket_in

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

P = ParamSpec("P")
T = TypeVar("T")

#: Arguments of a presigned URL that are about signing. The checksum is that of the body which the
#: JavaScript SDK had while presigning: none.
_NOT_HEADERS: Final = ("x-amz-checksum-", "x-amz-sdk-", "x-amz-content-sha256")
_HOISTED: Final = ("content-md5", "content-type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A verified request."""

    method: str
    #: Empty for the list of buckets.
    bucket: str
    #: Empty for the bucket itself.
    key: str
    arguments: Mapping[str, str]
    #: Names in lower case.
    headers: Mapping[str, str]
    signature: Signature
    caller: Principal
    receive: Receive


@dataclass(slots=True, kw_only=True)
class Answer:
    """What goes back: a small body, or a part of an object that is read while it is sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: Reader | None = None
    offset: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation may use."""

    files: Files
    uploads: Uploads
    region: str
    threads: ThreadPoolExecutor

    async def run(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let a thread act, because it blocks. Also when cancelled, return only once it has:
        it may be using a file that the caller is about to close.
        """
        loop = asyncio.get_running_loop()
        acting = loop.run_in_executor(self.threads, lambda: act(*args, **kwargs))
        try:
            return await asyncio.shield(acting)
        except asyncio.CancelledError:
            await asyncio.wait([acting])
            raise


def arn_of(bucket: str, key: str = "") -> str:
    """The name of a bucket, or of an object, in policies."""
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


def signed_request(scope: Scope) -> SignedRequest:
    """The request as it was signed: the raw path, because decoding it loses what was escaped."""
    return SignedRequest(
        scope["method"],
        scope["raw_path"].decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
    )


def read(request: SignedRequest, signature: Signature, caller: Principal, receive: Receive) -> Call:
    """The call that a verified request is."""
    bucket, key = _named(request)
    arguments = {
        _text(name): _text(value)
        for name, value in (sigv4.parameters(request.query) if request.query else {}).items()
    }
    return Call(
        method=request.method,
        bucket=bucket,
        key=key,
        arguments=arguments,
        headers=_headers(request, arguments),
        signature=signature,
        caller=caller,
        receive=receive,
    )


def bucket_of_host(request: SignedRequest) -> str:
    """The bucket that the request's host names; empty where the path does."""
    return next((bucket_in(value) for name, value in request.headers if name == "host"), "")


def _named(request: SignedRequest) -> tuple[str, str]:
    """Bucket and key."""
    path = request.raw_path.removeprefix("/")
    hosted = bucket_of_host(request)
    if hosted:
        return hosted, decoded(path)
    bucket, _, key = path.partition("/")
    return decoded(bucket), decoded(key)


def decoded(path: str) -> str:
    """A percent-encoded path as text, once decoded; a plus is a plus."""
    return _text(unquote_to_bytes(path.encode("latin-1")).decode("latin-1"))


def _text(latin: str) -> str:
    try:
        return latin.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise invalid("Couldn't parse the specified URI: it is not UTF-8.", "InvalidURI") from error


def _headers(request: SignedRequest, arguments: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, raw in request.headers:
        value = raw.strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if "authorization" in headers:
        return headers
    # A presigned URL may carry headers as arguments, which its signature covers like any other.
    lowered = {name.lower(): value for name, value in arguments.items()}
    hoisted = {name: value for name, value in lowered.items() if _is_header(name)}
    return hoisted | headers


def _is_header(name: str) -> bool:
    return name in _HOISTED or (name.startswith("x-amz-") and not name.startswith(_NOT_HEADERS))

"""The way to a session's Jupyter server: its Unix socket, in a folder that the launcher knows."""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import httpx
from starlette.types import Receive, Send
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import SessionId
from sparkowl.http.notebook_paths import Asked, Target
from sparkowl.launchers.base import JUPYTER_SOCKET, Launcher, LaunchError
from sparkowl.supervisor.links import Links

log = logging.getLogger(__name__)

#: Largest body of a request: a notebook of 10 MiB, as JSON within JSON.
LARGEST: Final = 16 << 20
#: Largest message of a kernel: an output with all that is in it.
_MESSAGE_BYTES: Final = 64 << 20
#: Requests of one session that are under way at once, and sockets that are open.
_AT_ONCE: Final = 64
_OPEN_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_TIMES: Final = httpx.Timeout(connect=5, read=120, write=60, pool=5)
_ASKED: Final = (
    "accept", "accept-encoding", "accept-language", "content-type", "content-length",
    "if-none-match", "if-modified-since", "range", "if-range",
)  # fmt: skip
#: No Location: behind a redirect, a content policy does not look at paths any more (CSP, "Path
#: Matching"), and a page could reach those of other sessions. No path of the table redirects.
_ANSWERED: Final = (
    "content-type", "content-length", "content-encoding", "content-disposition", "content-range",
    "accept-ranges", "etag", "last-modified", "vary", "retry-after",
)  # fmt: skip


class NotThere(Exception):
    """Nobody listens. Nothing of the request was taken."""


class Broken(Exception):
    """What listens did not answer as it should, or went in the middle."""


class TooMuch(Exception):
    """The session has as many requests under way as it may have."""


class BodyTooLarge(Exception):
    """A request's body is larger than any notebook."""


class ClientGone(Exception):
    """The browser left before all of its body had come."""


class Upstreams:
    """The ways to the Jupyter servers of all sessions."""

    def __init__(self, launcher: Launcher, links: Links) -> None:
        self._launcher = launcher
        self._links = links
        #: What is under way, by session.
        self._busy: Counter[SessionId] = Counter()

    @contextmanager
    def place(self, session_id: SessionId) -> Iterator[None]:
        """For each request and each socket, from before it waits for Jupyter until its end.

        Raises :class:`TooMuch`.
        """
        if self._busy[session_id] >= _AT_ONCE:
            raise TooMuch
        self._busy[session_id] += 1
        try:
            yield
        finally:
            self._busy[session_id] -= 1
            if not self._busy[session_id]:
                del self._busy[session_id]

    @asynccontextmanager
    async def ask(
        self, driver: Driver, target: Target, request: Request
    ) -> AsyncIterator[httpx.Response]:
        """The answer to a request, of which the body has not been read.

        Raises :class:`NotThere`, :class:`Broken`, and what the body raises.
        """
        asked = request.asked
        headers = {name: asked.headers[name] for name in _ASKED if name in asked.headers}
        headers |= {"host": "localhost"} | self._proof(driver)
        # As they came: these characters are bytes.
        sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        url = _url("http", target, asked.query)
        with self._socket(driver) as path:
            made = httpx.Request(
                asked.method,
                url,
                headers=sent,
                content=request.body() if request.has_body else None,
                extensions={"timeout": _TIMES.as_dict()},
            )
            transport = httpx.AsyncHTTPTransport(uds=path, verify=False, trust_env=False)
            async with transport:
                try:
                    response = await transport.handle_async_request(made)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    raise NotThere(type(error).__name__) from error
                except httpx.TransportError as error:
                    raise Broken(type(error).__name__) from error
                try:
                    yield response
                finally:
                    await response.aclose()

    @asynccontextmanager
    async def connect(
        self, driver: Driver, target: Target, asked: Asked
    ) -> AsyncIterator[ClientConnection]:
        """A WebSocket to a session's Jupyter server. Raises as :meth:`ask` does."""
        url = _url("ws", target, asked.query)
        with self._socket(driver) as path:
            try:
                socket = await unix_connect(
                    path,
                    url,
                    additional_headers=self._proof(driver),
                    subprotocols=[Subprotocol(one) for one in asked.subprotocols] or None,
                    compression=None,
                    user_agent_header=None,
                    open_timeout=10,
                    close_timeout=2,
                    max_size=_MESSAGE_BYTES,
                    # A message is read when the one before was taken: each may be large.
                    max_queue=0,
                    proxy=None,
                )
            except (InvalidHandshake, InvalidMessage, TimeoutError) as error:
                raise Broken(type(error).__name__) from error
            except OSError as error:
                raise NotThere(type(error).__name__) from error
            async with socket:
                yield socket

    def _proof(self, driver: Driver) -> dict[str, str]:
        return {"authorization": f"token {self._links.jupyter_token(driver.id)}"}

    @contextmanager
    def _socket(self, driver: Driver) -> Iterator[str]:
        """A path of the driver's socket that is short, and cannot be turned aside by a link."""
        if driver.handle is None:
            raise NotThere("not launched")
        try:
            folder = self._launcher.jupyter(driver.handle)
        except LaunchError as error:
            raise NotThere(str(error)) from error
        found = _found(folder)
        try:
            yield f"/proc/self/fd/{found}"
        finally:
            os.close(found)


def _found(folder: Path) -> int:
    try:
        place = os.open(folder, _OPEN_FLAGS | os.O_DIRECTORY)
        try:
            found = os.open(JUPYTER_SOCKET, _OPEN_FLAGS, dir_fd=place)
        finally:
            os.close(place)
    except OSError as error:
        raise NotThere(type(error).__name__) from error
    if not stat.S_ISSOCK(os.fstat(found).st_mode):
        os.close(found)
        raise Broken("not a socket")
    return found


class Request:
    """What the browser asks, with its body on the way."""

    def __init__(self, asked: Asked, receive: Receive) -> None:
        self.asked = asked
        self._receive = receive
        declared = asked.headers.get("content-length", "0")
        self.has_body = "transfer-encoding" in asked.headers or declared != "0"
        if declared.isdigit() and int(declared) > LARGEST:
            raise BodyTooLarge

    async def body(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > LARGEST:
                raise BodyTooLarge
            if part:
                yield part
            if not message.get("more_body"):
                return


async def send_on(send: Send, response: httpx.Response, ours: Sequence[tuple[str, str]]) -> None:
    """Hand an answer on as it comes. What breaks off cannot be mended: it ends the connection."""
    headers = [*_headers(response), *((name.encode(), value.encode()) for name, value in ours)]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    try:
        async for part in response.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except httpx.TransportError as error:
        log.warning("a notebook's server broke off", extra={"why": type(error).__name__})
        return
    await send({"type": "http.response.body", "body": b""})


def _headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that go on to the browser."""
    return [
        (name.encode(), response.headers[name].encode("latin-1", "replace"))
        for name in _ANSWERED
        if name in response.headers
    ]


def _url(scheme: str, target: Target, query: str) -> str:
    return f"{scheme}://localhost{target.base}{target.below}" + (f"?{query}" if query else "")

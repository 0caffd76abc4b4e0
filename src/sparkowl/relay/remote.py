"""The session's Jupyter, through the server's door: a link becomes a cookie, then a WebSocket."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from sparkowl.relay.messages import SUBPROTOCOL, BadMessage, Message, from_frame, to_frame
from sparkowl.relay.session import Away

log = logging.getLogger(__name__)

#: Of any call; a restart of the kernel's interrupt included.
_TIMEOUT_S: Final = 30.0
#: The longest message: Jupyter's own limit for what comes in over a WebSocket is 10 MiB, but a
#: kernel may show more than that.
_LONGEST_BYTES: Final = 256 << 20
#: A dead peer (a cable, a laptop that slept) is noticed within about two of these.
_PING_EVERY_S: Final = 20.0


class Remote:
    """One connection to the kernel of a session."""

    def __init__(self, http: httpx.AsyncClient, kernel: str, socket: ClientConnection) -> None:
        self._http = http
        self._kernel = kernel
        self._socket = socket

    async def send(self, message: Message) -> None:
        """Send; :class:`Away` when the connection is gone."""
        try:
            await self._socket.send(to_frame(message))
        except ConnectionClosed as error:
            raise Away(f"The connection was lost ({error})") from error

    async def messages(self) -> AsyncIterator[Message]:
        """What comes, until the connection ends. What is no message is left out."""
        try:
            async for frame in self._socket:
                try:
                    yield from_frame(frame)
                except BadMessage as error:
                    log.warning("The session's Jupyter sent what is no message: %s", error)
        except ConnectionClosed:
            return

    async def interrupt(self) -> None:
        """Stop what the kernel runs; :class:`Away` when that cannot be asked."""
        await _asked(self._http, "POST", f"{self._kernel}/interrupt")

    async def idle(self) -> bool:
        """Whether the kernel runs nothing; :class:`Away` when that cannot be asked."""
        answer = await _asked(self._http, "GET", self._kernel)
        try:
            found = answer.json()
        except ValueError as error:
            raise Away("The session's Jupyter gave an answer that is none") from error
        return isinstance(found, dict) and found.get("execution_state") == "idle"


def base_of(url: str, session_id: str) -> str:
    """The address of a session's Jupyter in a link to it, with a slash at its end."""
    folder = f"/notebooks/{session_id}/"
    head, found, _ = url.partition(folder)
    if not found or urlsplit(head).scheme not in {"http", "https"}:
        raise Away("The server gave a link that leads to no session")
    return head + folder


@asynccontextmanager
async def entered(
    url: str, session_id: str, visitor: str, authorities: str | None = None
) -> AsyncIterator[Remote]:
    """A connection to the kernel that a link leads to; :class:`Away` when there is none (yet).

    ``visitor`` names who comes: what was missed between two visits of the same one is sent again.
    ``authorities`` is a file of those that are trusted besides the usual ones.
    """
    base = base_of(url, session_id)
    parts = urlsplit(base)
    trust = _trust(authorities) if parts.scheme == "https" else None
    # The door takes no WebSocket and no POST from another origin.
    headers = {"Origin": f"{parts.scheme}://{parts.netloc}"}
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=headers, verify=trust or True) as http:
        # Not followed: the answer's cookie is all that is wanted, not the page.
        await _asked(http, "GET", url)
        kernel = await _kernel(http, base)
        address = f"{kernel}/channels?session_id={visitor}"
        cookie = http.build_request("GET", address).headers.get("Cookie", "")
        try:
            socket = await connect(
                address.replace("http", "ws", 1),
                additional_headers={"Cookie": cookie} | headers,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                max_size=_LONGEST_BYTES,
                ping_interval=_PING_EVERY_S,
                open_timeout=_TIMEOUT_S,
                ssl=trust,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ssl.SSLError) as error:
            raise Away(f"The session's kernel cannot be reached ({error})") from error
        try:
            if socket.subprotocol != SUBPROTOCOL:
                raise Away(f"The session's Jupyter does not speak {SUBPROTOCOL}")
            yield Remote(http, kernel, socket)
        finally:
            await asyncio.shield(socket.close())


def _trust(authorities: str | None) -> ssl.SSLContext:
    """The same for both: each has its own idea of the usual ones."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:  # ssl.SSLError, too
            raise Away(f"The CA bundle {authorities} cannot be used: {error}") from error
    return context


async def _kernel(http: httpx.AsyncClient, base: str) -> str:
    """The address of the one kernel that a session's Jupyter has."""
    try:
        found: Any = (await _asked(http, "GET", f"{base}api/kernels")).json()
        return f"{base}api/kernels/{found[0]['id']}"
    except (ValueError, LookupError, TypeError) as error:
        raise Away("The session's Jupyter has no kernel yet") from error


async def _asked(http: httpx.AsyncClient, method: str, url: str) -> httpx.Response:
    try:
        answer = await http.request(method, url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Away(f"The session's Jupyter cannot be reached ({error})") from error
    if answer.status_code >= 400:
        raise Away(f"The session's Jupyter answered {answer.status_code} {answer.reason_phrase}")
    return answer

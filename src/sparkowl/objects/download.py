"""A file from the web, for whoever may only have what is public.

Each address is looked at before it is connected to, and what is connected to is what was looked at:
the name is resolved once, and the TLS certificate is compared with the name. That holds for every
redirect anew. Nothing of this machine is sent along: no cookies, no credentials, no proxy.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol
from urllib.parse import urljoin

import httpcore
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

from sparkowl.domain import web
from sparkowl.domain.web import WebAddress

#: Followed one after the other.
REDIRECTS: Final = 5
#: Of one host, tried one after the other...
_ADDRESSES: Final = 4
#: ...for so long each.
_CONNECT_S: Final = 5.0
_REDIRECTING: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200

#: A host's addresses, all that there are; OSError for a name that has none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class DownloadError(Exception):
    """The file cannot be had. The message is a sentence for whoever named it; it holds no more of
    the URL than its host."""


class Download(Protocol):
    """Where files on the web come from."""

    async def fetch(self, url: str) -> bytes:
        """The file's content. :class:`DownloadError` where there is none to have."""
        ...


async def resolve(host: str, port: int) -> Sequence[str]:
    """As this machine resolves names."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Web:
    """The web, as this machine reaches it."""

    def __init__(
        self,
        *,
        limit_s: float,
        largest: int,
        resolve: Resolve = resolve,
        network: AsyncNetworkBackend | None = None,
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        """A file has at most ``largest`` bytes and comes within ``limit_s`` seconds.

        ``network`` connects to addresses that were found public; ``trust`` says whose certificates
        count. By default both are the machine's.
        """
        self._limit_s = limit_s
        self._largest = largest
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()
        self._make_trust = trust
        self._trust: ssl.SSLContext | None = None

    async def fetch(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._follow(_parsed(url, "it"))
        except TimeoutError:
            raise DownloadError(f"it did not come within {self._limit_s:g} s.") from None

    async def _follow(self, address: WebAddress) -> bytes:
        if self._trust is None:
            # Reads every certificate that the machine trusts.
            self._trust = await asyncio.to_thread(self._make_trust)
        for _ in range(REDIRECTS + 1):
            try:
                answer = await self._get(address, await self._public(address))
            except httpcore.ConnectError as error:
                raise DownloadError(_not_connected(address.host, error)) from error
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                raise DownloadError(f"the connection to {address.host} broke off.") from error
            except httpcore.ProtocolError as error:
                raise DownloadError(f"{address.host} did not answer as it should.") from error
            if isinstance(answer, bytes):
                return answer
            address = answer
        raise DownloadError(f"it was redirected more than {REDIRECTS} times.")

    async def _public(self, address: WebAddress) -> Sequence[str]:
        """The host's addresses. One that is not public spoils all: no honest name has both."""
        try:
            found = await self._resolve(address.host, address.port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise DownloadError(f"{address.host} has no address.")
        if not all(web.is_public(one) for one in found):
            raise DownloadError(
                f"{address.host} is not on the public internet; nothing else is fetched from."
            )
        return found[:_ADDRESSES]

    async def _get(self, address: WebAddress, pinned: Sequence[str]) -> bytes | WebAddress:
        """The content, or where else it is."""
        connection = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(b"https", address.host.encode(), address.port),
            ssl_context=self._trust,
            network_backend=_Pinned(self._network, pinned),
        )
        url = httpcore.URL(
            scheme="https", host=address.host, port=address.port, target=address.target
        )
        headers = [
            ("Host", address.authority),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "sparkowl"),
        ]
        async with connection, connection.stream("GET", url, headers=headers) as response:
            if response.status in _REDIRECTING:
                return _redirected(address, response)
            if response.status != _OK:
                raise DownloadError(f"{address.host} answered with status {response.status}.")
            return await self._content(response)

    async def _content(self, response: httpcore.Response) -> bytes:
        coding = _header(response, b"content-encoding").lower()
        if coding not in {"", "identity"}:
            raise DownloadError("it came compressed, which was not asked for.")
        length = _header(response, b"content-length")
        if length.isdecimal() and int(length) > self._largest:
            raise self._too_large()
        content = bytearray()
        async for block in response.aiter_stream():
            content += block
            if len(content) > self._largest:
                raise self._too_large()
        return bytes(content)

    def _too_large(self) -> DownloadError:
        return DownloadError(f"it has more than {self._largest} bytes.")


class _Pinned(AsyncNetworkBackend):
    """Connects to given addresses, whatever the name is."""

    def __init__(self, network: AsyncNetworkBackend, addresses: Sequence[str]) -> None:
        self._network = network
        self._addresses = addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        failed: Exception | None = None
        for address in self._addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, _CONNECT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed


def _redirected(address: WebAddress, response: httpcore.Response) -> WebAddress:
    location = _header(response, b"location")
    if not location:
        raise DownloadError(f"{address.host} redirected it to nowhere.")
    try:
        return _parsed(urljoin(address.url, location), "what it redirects to")
    except ValueError:
        raise DownloadError(f"{address.host} redirected it to nowhere.") from None


def _parsed(url: str, what: str) -> WebAddress:
    try:
        return web.parse(url)
    except ValueError as error:
        raise DownloadError(f"{what} {error}.") from None


def _not_connected(host: str, error: Exception) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is not valid: {error.__cause__.verify_message}."
    if isinstance(error.__cause__, ssl.SSLError):
        return f"{host} does not speak TLS as it should."
    return f"{host} cannot be connected to."


def _header(response: httpcore.Response, name: bytes) -> str:
    return next(
        (value.decode("latin-1").strip() for key, value in response.headers if key.lower() == name),
        "",
    )

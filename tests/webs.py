"""Where tests fetch files from: a make-believe web, and a real server with TLS on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpcore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sparkowl.domain import web
from sparkowl.objects.download import DownloadError, Web

#: What the server's names resolve to, for the tests: an address of the public internet.
PUBLIC: Final = "93.184.215.14"
HOST: Final = "files.example.com"
LARGEST: Final = 10_000
#: Writes an answer; given the request's path.
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class MakeBelieveWeb:
    """Files by URL. While it is held, nothing comes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: The URLs that were asked for, in order.
        self.asked: list[str] = []
        #: How many are being waited for.
        self.waiting = 0
        self._flows = asyncio.Event()
        self._flows.set()

    def hold(self) -> None:
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        self.waiting += 1
        try:
            await self._flows.wait()
        finally:
            self.waiting -= 1
        try:
            return self.files[url]
        except KeyError:
            host = web.parse(url).host
            raise DownloadError(f"{host} answered with status 404.") from None


class Routed(httpcore.AsyncNetworkBackend):
    """Brings whoever connects to :data:`PUBLIC` to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._inner = httpcore.AnyIOBackend()
        self.port = port
        self.connected: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if host != PUBLIC:
            raise httpcore.ConnectError(f"there is no way to {host}")
        return await self._inner.connect_tcp("127.0.0.1", self.port, timeout)


class Authority:
    """A certificate authority of our own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._certificate = self._signed(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None)
        )

    def trust(self) -> ssl.SSLContext:
        """For who takes this authority's certificates and no others."""
        return ssl.create_default_context(cadata=self.pem.decode())

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, folder: Path, host: str) -> ssl.SSLContext:
        """For a server of that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._signed(
            name, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(host)])
        )
        file = folder / "server.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


class Site:
    """A real server on this machine, and the web as one sees it who has only this server."""

    def __init__(self, authority: Authority, port: int, answers: Mapping[str, Answer]) -> None:
        self.authority = authority
        self._answers = answers
        self.routed = Routed(port)
        #: Names and what they resolve to; others do not.
        self.names: dict[str, Sequence[str]] = {HOST: [PUBLIC]}
        #: Each name that was looked up.
        self.resolved: list[str] = []
        #: The head of each request.
        self.requests: list[str] = []

    def web(self, limit_s: float = 10.0, *, trusting: bool = True) -> Web:
        trust = self.authority.trust if trusting else ssl.create_default_context
        return Web(
            limit_s=limit_s,
            largest=LARGEST,
            resolve=self._resolve,
            network=self.routed,
            trust=trust,
        )

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append(host)
        try:
            return self.names[host]
        except KeyError:
            raise OSError(f"no such name: {host}") from None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            await self._answers[head.split()[1]](writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client has heard enough.
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()


@asynccontextmanager
async def site(
    folder: Path, answers: Mapping[str, Answer], *, named: str = HOST
) -> AsyncIterator[Site]:
    """A server with a certificate for ``named``; its answers by path."""
    authority = Authority()
    found: list[Site] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await found[0].answer(reader, writer)

    context = authority.server(folder, named)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        found.append(Site(authority, server.sockets[0].getsockname()[1], answers))
        yield found[0]


def sends(content: bytes, *head: str, status: str = "200 OK") -> Answer:
    """An answer with these lines in its head; its end is that of the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = "".join(
            f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *head, "Connection: close")
        )
        writer.write(lines.encode() + b"\r\n" + content)
        await writer.drain()

    return answer


def redirects(location: str, status: str = "302 Found") -> Answer:
    return sends(b"", f"Location: {location}", "Content-Length: 0", status=status)

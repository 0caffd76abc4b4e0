"""Addresses on the web from which the server may fetch a file that a caller names.

Whoever may name an address to a server can use that server to reach what only it reaches: cloud
metadata, the services of its own network (SSRF). So only ``https`` is followed, and only to
addresses of the public internet. A name is no address: whoever connects resolves it once, asks
:func:`is_public` and connects to just what was asked about.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

#: As long as browsers and servers agree on.
LONGEST: Final = 2048

#: No blanks, no control characters, no backslash: parsers disagree on what these mean.
_PLAIN: Final = re.compile(r"[!-\[\]-~]+")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_OF_THIS_MACHINE: Final = re.compile(r"(?:.*\.)?localhost\.?")

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
#: Where IANA has given out addresses of single hosts; everything else is special or not in use.
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
#: IPv4 addresses inside IPv6 ones: RFC 6052, for hosts that have IPv6 only.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
#: Ways around, and addresses that stand for nobody, whatever this Python's tables say.
_NOT_HOSTS: Final = (
    ipaddress.IPv6Network("2001::/23"),  # Teredo and other protocols of the IETF
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation
    ipaddress.IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)
_NOT_HOSTS_V4: Final = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocols of the IETF; Oracle's cloud metadata
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's own services, on every machine there
)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An ``https`` URL that may be fetched if its host is public."""

    #: A name in lower case, or an IP address without brackets.
    host: str
    port: int
    #: Path and query, as they are sent.
    target: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def authority(self) -> str:
        """As in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.authority}{self.target}"


_PORT: Final = 443


def parse(url: str) -> WebAddress:
    """The parts of a URL; ValueError, with the rule that it breaks.

    The fragment is dropped: it is not sent.
    """
    if len(url) > LONGEST:
        raise ValueError(f"has {len(url)} characters; at most {LONGEST} are allowed")
    if _PLAIN.fullmatch(url) is None:
        raise ValueError("has characters that are to be percent-encoded in a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme != "https":
        raise ValueError("must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user's name or password")
    host = parts.hostname or ""
    if port == 0:
        raise ValueError("names port 0, which does not exist")
    _require_host(host, bracketed=parts.netloc.startswith("["))
    query = f"?{parts.query}" if parts.query else ""
    return WebAddress(host, _PORT if port is None else port, (parts.path or "/") + query)


def _require_host(host: str, *, bracketed: bool) -> None:
    address = _address(host)
    if address is not None:
        if not is_public(host):
            raise ValueError(f"names {host}, which is not a public address")
        return
    if bracketed or _NAME.fullmatch(host) is None:
        raise ValueError("has no valid host")
    if _OF_THIS_MACHINE.fullmatch(host):
        raise ValueError(f"names {host}, which is not a public address")


def is_public(address: str) -> bool:
    """Whether an IP address is that of one host on the public internet.

    Not so: private, shared, loopback, link-local, multicast, reserved and documentation addresses,
    also where one is wrapped into an IPv6 address; False for what is no address.
    """
    found = _address(address)
    if isinstance(found, _IPv6):
        return _is_public_v6(found)
    return found is not None and _is_public_v4(found)


def _is_public_v4(address: _IPv4) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return (
        address.is_global
        and not special
        and not any(address in network for network in _NOT_HOSTS_V4)
    )


def _is_public_v6(address: _IPv6) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(_IPv4(int(address) & 0xFFFF_FFFF))
    return (
        address in _UNICAST
        and address.is_global
        and not any(address in network for network in _NOT_HOSTS)
    )


def _address(text: str) -> _IPv4 | _IPv6 | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

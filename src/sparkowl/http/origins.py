"""Whether a request comes from a page of ours: what the browser says of where it began.

Cookies go with a request wherever it was made. So what may change something, and everything that
answers with content, is refused unless its ``Origin`` and its fetch metadata say that a page of
this very origin made it (OWASP, "Cross-Site Request Forgery Prevention"; W3C, "Fetch Metadata
Request Headers"). Programs send neither header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sparkowl.http.notebook_paths import Asked, Kind, Target

#: A host and a port, and nothing that would mean something in a header or a policy.
_HOST: Final = re.compile(
    r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?"
)


@dataclass(frozen=True, slots=True)
class Origins:
    """``url``: where browsers reach notebooks; None: wherever they say that they do."""

    url: str | None
    behind_proxy: bool

    def secure(self, headers: Mapping[str, str]) -> bool:
        """Whether the browser's way to us is encrypted."""
        if self.url is not None and self.url.startswith("https:"):
            return True
        return self.behind_proxy and headers.get("x-forwarded-proto", "").strip() == "https"

    def own(self, session_id: str, headers: Mapping[str, str]) -> str | None:
        """Our origin, as the browser of this request sees it; None: it is at a wrong host."""
        host = headers.get("host", "")
        if not _HOST.fullmatch(host):
            return None
        if self.url is None:
            return f"{'https' if self.secure(headers) else 'http'}://{host}".lower()
        own = self.url.replace("{session}", session_id).lower()
        if own != self.url.lower():
            # Each session has a host of its own, and its page is nowhere else.
            return own if urlsplit(own).netloc == host.lower() else None
        return own

    def _past(self, headers: Mapping[str, str]) -> str | None:
        """The origin of who comes straight to the port, past the proxy in front; None: nobody
        does, for that would be another way to the same name."""
        host = headers["host"].lower()
        if self.url is None or "{session}" in self.url or urlsplit(self.url.lower()).netloc == host:
            return None
        return f"http://{host}"

    def trust(self, asked: Asked, target: Target) -> bool:
        """Whether a page of ours made the request, or no page at all."""
        headers, kind = asked.headers, target.kind
        own = self.own(target.session_id, headers)
        if own is None:
            return False
        origin = headers.get("origin")
        if (
            origin is not None
            and kind is not Kind.PAGE
            and origin not in {own, self._past(headers)}
        ):
            return False
        site = headers.get("sec-fetch-site")
        if site is None:
            return True
        if kind is Kind.PAGE:
            # By a link from anywhere, but in a tab of its own.
            return (
                headers.get("sec-fetch-mode", "navigate") == "navigate"
                and headers.get("sec-fetch-dest", "document") == "document"
            )
        if site != "same-origin":
            return False
        return kind in {Kind.STATIC, Kind.SOCKET} or _from_below(
            headers.get("referer"), target.base
        )


def _from_below(referrer: str | None, base: str) -> bool:
    """Whether the page that asks is of this session. Our pages say so; a handshake of a WebSocket
    has no such header."""
    return referrer is not None and urlsplit(referrer).path.startswith(base)

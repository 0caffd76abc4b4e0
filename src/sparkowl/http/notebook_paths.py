"""Which paths of a session's notebook there are.

The door asks the session's Jupyter server for nothing that is not in the table here. A path is
taken apart at its slashes, then decoded, once, part by part; what goes on is put together anew from
the parts that were looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from starlette.types import Scope

from sparkowl.domain.notebook import SUFFIX, jupyter_base

_SHAPE: Final = re.compile(
    rb"/notebooks/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(.*)", re.DOTALL
)
#: What only a signed request of S3 has, in its query.
_SIGNED: Final = (b"X-Amz-Signature=", b"X-Amz-Credential=", b"AWSAccessKeyId=")
#: Tabs may be in a notebook's name.
_NEVER: Final = re.compile(r"[\x00-\x08\x0a-\x1f/\\]")
_MOST_PARTS: Final = 12
#: In bytes. A notebook's name has at most 255 characters, each of at most 12 bytes here.
_LONGEST: Final = 4096


class Kind(Enum):
    """What a path is for."""

    #: What a browser shows: people come here from elsewhere.
    PAGE = auto()
    #: What the page loads: the same for everybody.
    STATIC = auto()
    #: What the page asks and does.
    API = auto()
    SOCKET = auto()
    #: Answered by this server: how the session is.
    STATUS = auto()
    #: Answered by this server: the session goes on.
    EXTEND = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """A path within a session's notebook."""

    session_id: str
    parts: tuple[str, ...]
    kind: Kind

    @property
    def base(self) -> str:
        return jupyter_base(self.session_id)

    @property
    def below(self) -> str:
        """The path behind the session's base, encoded again."""
        return "/".join(quote(part, safe="@:") for part in self.parts)

    @property
    def is_channels(self) -> bool:
        """Whether it is the WebSocket to the kernel's channels."""
        return self.kind is Kind.SOCKET and self.parts[-1] == "channels"

    def is_page_of_another(self, name: str) -> bool:
        """Whether it is the page of a notebook that has not this name."""
        return self.kind is Kind.PAGE and self.parts[-1] != f"{name}{SUFFIX}"


def is_notebooks(scope: Scope) -> bool:
    """Whether a request is for a session's notebook.

    A bucket may be called ``notebooks``, and a key may begin with an id. A request that is signed
    as S3's are is S3's, whatever its path.
    """
    found = _SHAPE.fullmatch(_raw_path(scope))
    if found is None:
        return False
    for name, value in scope["headers"]:
        if name == b"authorization" and value.startswith(b"AWS"):
            return False
    query: bytes = scope["query_string"]
    return not any(sign in query for sign in _SIGNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, taken apart."""

    #: ``WEBSOCKET`` for the upgrade to one.
    method: str
    #: By name in lower case; of several with one name, the first.
    headers: Mapping[str, str]
    client: tuple[str, int] | None
    #: None: there is no such page.
    target: Target | None
    #: What the query has as ``token``.
    token: str | None
    #: The query without it.
    query: str
    #: The page asks for this very version of a file, which never changes.
    versioned: bool
    subprotocols: Sequence[str]

    @classmethod
    def of(cls, scope: Scope) -> Asked:
        """Takes the query out of the scope as well: the HTTP server logs what it finds there when
        it accepts a WebSocket, and a token is not for a log."""
        websocket = scope["type"] == "websocket"
        method = "WEBSOCKET" if websocket else scope["method"]
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            if name == b"cookie" and "cookie" in headers:
                headers["cookie"] += f"; {text}"
            else:
                headers.setdefault(name.decode("latin-1"), text)
        pairs = scope["query_string"].decode("latin-1").split("&")
        named = [(unquote_plus(pair.partition("=")[0]), pair) for pair in pairs if pair]
        tokens = [unquote_plus(pair.partition("=")[2]) for name, pair in named if name == "token"]
        scope["query_string"] = b""
        target = _target(scope, method)
        names = {name for name, _ in named}
        return cls(
            method=method,
            headers=headers,
            client=scope.get("client"),
            target=target,
            token=tokens[0] if tokens else None,
            query="&".join(pair for name, pair in named if name != "token"),
            versioned=target is not None and target.kind is Kind.STATIC and "v" in names,
            subprotocols=scope.get("subprotocols", ()) if websocket else (),
        )


def _target(scope: Scope, method: str) -> Target | None:
    found = _SHAPE.fullmatch(_raw_path(scope))
    if found is None or len(found[2]) > _LONGEST:
        return None
    raw = found[2].split(b"/")
    parts = [_part(one) for one in raw[:_MOST_PARTS]]
    good = tuple(part for part in parts if part is not None)
    kind = _kind(method, good) if len(good) == len(raw) else None
    return None if kind is None else Target(found[1].decode(), good, kind)


def _kind(method: str, parts: tuple[str, ...]) -> Kind | None:
    for row in _TABLE:
        if row.matches(parts) and method in row.methods:
            return row.kind
    return None


def _raw_path(scope: Scope) -> bytes:
    raw: bytes = scope["raw_path"]
    return raw


def _part(raw: bytes) -> str | None:
    try:
        part = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None
    return None if part in {"", ".", ".."} or _NEVER.search(part) else part


@dataclass(frozen=True, slots=True)
class _Row:
    kind: Kind
    methods: frozenset[str]
    #: ``*``: any one part; ``**``, at the end: one or more.
    pattern: tuple[str, ...]

    def matches(self, parts: tuple[str, ...]) -> bool:
        pattern = self.pattern
        if pattern[-1] == "**":
            pattern = pattern[:-1] + ("*",) * max(len(parts) - len(pattern) + 1, 1)
        return len(pattern) == len(parts) and all(
            wanted in {"*", part} for wanted, part in zip(pattern, parts, strict=True)
        )


def _rows(kind: Kind, methods: str, *paths: str) -> list[_Row]:
    allowed = frozenset(methods.split())
    return [_Row(kind, allowed, tuple(path.split("/"))) for path in paths]


_READ: Final = "GET HEAD"
#: What the page of Notebook 7 asks for, and no more. Left out on purpose: ``tree`` and ``edit``
#: (the session has one notebook), ``files`` and ``nbconvert`` (a notebook's own HTML would come
#: from the page's origin), ``api/terminals``, ``api/shutdown``, ``login``.
_TABLE: Final = (
    *_rows(Kind.PAGE, _READ, "notebooks/*"),
    *_rows(
        Kind.STATIC,
        _READ,
        "static/**",
        "lab/extensions/**",
        "lab/api/themes/**",
        "custom/custom.css",
        "kernelspecs/*/*",
    ),
    *_rows(Kind.SOCKET, "WEBSOCKET", "api/kernels/*/channels", "api/events/subscribe"),
    *_rows(Kind.STATUS, "GET", "_sparkowl/session"),
    *_rows(Kind.EXTEND, "POST", "_sparkowl/extend"),
    *_rows(Kind.API, "GET HEAD POST", "api/contents"),
    *_rows(Kind.API, "GET HEAD POST PUT PATCH", "api/contents/**"),
    *_rows(Kind.API, "GET POST", "api/kernels", "api/sessions"),
    *_rows(Kind.API, "GET DELETE", "api/kernels/*"),
    *_rows(Kind.API, "POST", "api/kernels/*/interrupt", "api/kernels/*/restart"),
    *_rows(Kind.API, "GET PATCH DELETE", "api/sessions/*"),
    *_rows(
        Kind.API,
        _READ,
        "api/kernelspecs",
        "api/kernelspecs/*",
        "api/me",
        "api/status",
        "api/translations/**",
        "lab/api/translations",
        "lab/api/translations/**",
        "lab/api/listings/**",
        "sparkowl/progress",
    ),
    *_rows(Kind.API, "GET PUT PATCH", "api/config/section/*", "lab/api/settings/**"),
    *_rows(Kind.API, "GET PUT", "lab/api/settings"),
    *_rows(Kind.API, "GET PUT POST DELETE", "lab/api/workspaces", "lab/api/workspaces/**"),
)

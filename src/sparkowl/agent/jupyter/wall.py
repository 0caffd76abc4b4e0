"""The only way into this process: one bearer token, and the paths that a page needs.

Before any of Jupyter's own code sees a request. Jupyter can far more than a page needs, such as
terminals, conversion and a shutdown; what is not listed here does not exist.
"""

from __future__ import annotations

import hmac
import re
from typing import Any, Final

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from tornado.routing import Router
from tornado.web import Application

_ID: Final = r"\w+-\w+-\w+-\w+-\w+"
_READ: Final = ("GET", "HEAD")

#: Methods, and the path after the base URL (percent-encoded, without the query).
ROUTES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]] = tuple(
    (methods, re.compile(pattern))
    for methods, pattern in (
        (_READ, r"notebooks/[^/]+"),
        (_READ, r"static/.+"),
        (_READ, r"lab/extensions/.+"),
        (_READ, r"lab/api/themes/.+"),
        (_READ, r"lab/api/translations/?[^/]*"),
        ((*_READ, "PUT"), r"lab/api/settings/?.*"),
        ((*_READ, "PUT"), r"lab/api/workspaces/?[^/]*"),
        (_READ, r"api/(me|status|kernelspecs)?"),
        ((*_READ, "POST"), r"api/(kernels|sessions)"),
        ((*_READ, "PATCH", "DELETE"), rf"api/(kernels|sessions)/{_ID}"),
        (("POST",), rf"api/kernels/{_ID}/(interrupt|restart)"),
        (("GET",), rf"api/kernels/{_ID}/channels"),
        (("GET",), r"api/events/subscribe"),
        ((*_READ, "PUT", "POST", "PATCH", "DELETE"), r"api/contents/?[^/]*"),
        ((*_READ, "POST"), r"api/contents/[^/]+/checkpoints"),
        (("POST", "DELETE"), r"api/contents/[^/]+/checkpoints/[\w-]+"),
        (("POST",), r"api/contents/[^/]+/trust"),
        (_READ, r"sparkowl/progress"),
    )
)


class Wall(Router):
    """Hands over to Jupyter what may pass; answers the rest itself, with nothing in it."""

    def __init__(self, jupyter: Application, *, base_url: str, token: str) -> None:
        self._jupyter = jupyter
        self._base_url = base_url
        self._expected = f"token {token}".encode()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        status = self._refusal(request)
        if status is None:
            return self._jupyter.find_handler(request, **kwargs)
        assert request.connection is not None
        return _Refuse(request.connection, *status)

    def _refusal(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            return 403, "Forbidden"
        if not request.path.startswith(self._base_url):
            return 404, "Not Found"
        path = request.path[len(self._base_url) :]
        fitting = [methods for methods, pattern in ROUTES if pattern.fullmatch(path)]
        if not fitting or ".." in path.split("/"):
            return 404, "Not Found"
        if not any(request.method in methods for methods in fitting):
            return 405, "Method Not Allowed"
        return None


class _Refuse(HTTPMessageDelegate):
    def __init__(self, connection: HTTPConnection, status: int, reason: str) -> None:
        self._connection = connection
        self._line = ResponseStartLine("HTTP/1.1", status, reason)

    def finish(self) -> None:
        self._connection.write_headers(self._line, HTTPHeaders({"Content-Length": "0"}), b"")
        self._connection.finish()

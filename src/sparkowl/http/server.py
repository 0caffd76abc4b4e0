"""The ASGI application: which door a request is for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from sparkowl import __version__
from sparkowl.http.doors import is_athena
from sparkowl.http.driver_notebooks import is_notebook
from sparkowl.http.drivers import PREFIX as DRIVERS
from sparkowl.http.notebook_paths import is_notebooks
from sparkowl.s3.door import S3Door
from sparkowl.s3.elsewhere import Elsewhere
from sparkowl.s3.hosts import bucket_named

#: An underscore cannot begin a bucket's name, so our own paths hide no bucket.
HEALTH = "/_sparkowl/health"


class Server:
    """Sends each request to its door."""

    def __init__(
        self,
        athena: ASGIApp,
        s3: S3Door | Elsewhere,
        drivers: ASGIApp,
        driver_notebooks: ASGIApp,
        notebooks: ASGIApp,
    ) -> None:
        self._athena = athena
        self._s3 = s3
        self._drivers = drivers
        self._driver_notebooks = driver_notebooks
        self._notebooks = notebooks

    def close(self) -> None:
        """Call once no request is under way any more."""
        self._s3.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._door(scope)(scope, receive, send)

    def _door(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        if bucket_named(scope["headers"]):
            # A bucket's own host: every path is a key, also one that would be ours elsewhere.
            return _no_websocket if scope["type"] == "websocket" else self._s3
        if is_notebooks(scope):
            return self._notebooks
        if scope["type"] == "websocket":
            return self._drivers if scope["path"].startswith(DRIVERS) else _no_websocket
        if scope["path"] == HEALTH:
            return _health
        if is_notebook(scope):
            return self._driver_notebooks
        return self._athena if is_athena(scope) else self._s3


async def _health(scope: Scope, receive: Receive, send: Send) -> None:
    """Unsigned: it says only that the server answers."""
    body = json.dumps({"status": "ok", "version": __version__}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _no_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})

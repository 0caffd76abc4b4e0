"""Where a session's page has its notebook from, and saves it: its agent asks, with its token."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sparkowl.domain.errors import Conflict, InvalidRequest, RequestError, Throttled
from sparkowl.http.bounds import InFlight
from sparkowl.http.drivers import PREFIX
from sparkowl.operations import Context, notebooks
from sparkowl.supervisor.links import Links, UnknownDriver

#: Largest body: a notebook of 10 MiB, as JSON within JSON.
LARGEST: Final = 16 << 20
_SUFFIX: Final = "/notebook"


class _Refused(Exception):
    """The request is not taken; the text says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _ClientGone(Exception):
    """The agent left before all of its body had come."""


def is_notebook(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith(PREFIX) and path.endswith(_SUFFIX)


class DriverNotebooks:
    """``/_sparkowl/drivers/<driver id>/notebook``, with the driver's token as bearer token.

    ``GET`` answers ``{"name", "payload", "modified_at", "version"}``; ``PUT`` takes ``{"payload"}``
    and answers ``{"modified_at", "version"}``. Times are seconds since the epoch. An error answers
    ``{"message"}``: 403 for whoever is not such a driver, 400 for what is no notebook, 409 for
    what changed meanwhile, 413 for what is too large, 503 for what may be tried again.
    """

    def __init__(self, context: Context, links: Links, bodies: InFlight) -> None:
        self._context = context
        self._links = links
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response: Response = JSONResponse(_plain(await self._answer(scope, receive)))
        except _ClientGone:
            return
        except _Refused as refused:
            response = _message(refused.status, str(refused))
        except UnknownDriver:
            response = _message(403, "No such driver, or not its token.")
        except Throttled as error:
            response = _message(503, str(error))
        except Conflict:
            response = _message(409, "The notebook changed meanwhile.")
        except RequestError as error:
            response = _message(400, str(error))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        driver_id = scope["path"].removeprefix(PREFIX).removesuffix(_SUFFIX)
        token = headers.get(b"authorization", "").removeprefix("Bearer ")
        # Before anything of the body is read.
        driver = await self._links.authenticate(driver_id, token)
        if driver.session_id is None:
            raise _Refused(409, "The driver has no session.")
        if scope["method"] == "GET":
            return await notebooks.load_for_session(self._context, driver.session_id)
        if scope["method"] != "PUT":
            raise _Refused(405, "A notebook is read by GET and saved by PUT.")
        declared = headers.get(b"content-length", "0")
        if declared.isdigit() and int(declared) > LARGEST:
            raise _Refused(413, f"A notebook's body has at most {LARGEST} bytes.")
        taken = bytearray()
        try:
            payload = _payload(await self._read(receive, taken))
        finally:
            self._bodies.give(len(taken))
        return await notebooks.save_for_session(self._context, driver.session_id, payload)

    async def _read(self, receive: Receive, into: bytearray) -> bytearray:
        """All of the body, which counts among those in flight as far as it has come."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            part = message.get("body", b"")
            self._bodies.take(len(part))
            into += part
            if len(into) > LARGEST:
                raise _Refused(413, f"A notebook's body has at most {LARGEST} bytes.")
            if not message.get("more_body"):
                return into


def _payload(body: bytearray) -> str:
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.") from None
    payload = sent.get("payload") if isinstance(sent, dict) else None
    if not isinstance(payload, str):
        raise InvalidRequest('The body has no "payload" that is a text.')
    return payload


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in answer.items()
    }


def _message(status: int, text: str) -> Response:
    response = JSONResponse({"message": text}, status)
    if status == 413:
        # The rest of the body would be taken for the next request.
        response.headers["connection"] = "close"
    return response

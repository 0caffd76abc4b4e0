"""The notebooks' door: a browser's way to the Jupyter server of one session.

Jupyter answers on a Unix socket, and only to us. Here it is decided who may ask it what. A link's
token becomes a cookie; with it, and from a page of ours, a browser may ask for the paths of
:mod:`.notebook_paths`. Everything is asked anew for each request and each WebSocket: the cookie,
then whether the session lives, then whether its principal may still come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final
from uuid import uuid4

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sparkowl.access.audit import Audit
from sparkowl.domain.driver import Driver
from sparkowl.domain.visits import Pass
from sparkowl.http import pages, upstream
from sparkowl.http.admission import Admission, Closed, Ended, Visit
from sparkowl.http.notebook_paths import Asked, Kind, Target
from sparkowl.http.origins import Origins
from sparkowl.http.sockets import relay
from sparkowl.http.upstream import BodyTooLarge, Broken, NotThere, Request, TooMuch, Upstreams
from sparkowl.operations import Context, idle
from sparkowl.operations.presigned import page_of

log = logging.getLogger(__name__)

#: How long a request waits for a Jupyter server that is not up yet.
_PATIENT_S: Final = 15.0
_PAUSE_S: Final = 0.2
#: How often it is looked whether an open WebSocket may stay open.
_LOOK_S: Final = 2.0
#: How often an open page counts as activity, where it does; a session may stop after a minute.
_ACTIVITY_S: Final = 20.0
_REFUSED: Final = (Closed, Ended, NotThere, TooMuch, Broken, BodyTooLarge)


class NotebooksDoor:
    """``/notebooks/<session id>/…``, for HTTP and WebSockets."""

    def __init__(  # noqa: PLR0913  what a request needs
        self,
        context: Context,
        admission: Admission,
        origins: Origins,
        upstreams: Upstreams,
        audit: Audit,
        *,
        open_page_is_activity: bool,
    ) -> None:
        self._context = context
        self._admission = admission
        self._origins = origins
        self._upstreams = upstreams
        self._audit = audit
        self._open_page_is_activity = open_page_is_activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked.of(scope)
        if scope["type"] == "websocket":
            await self._socket(WebSocket(scope, receive, send), asked)
            return
        try:
            response = await self._answer(asked, receive, send)
        except upstream.ClientGone:
            return
        if response is not None:
            await response(scope, receive, send)

    # --- requests ------------------------------------------------------------------------------

    async def _answer(self, asked: Asked, receive: Receive, send: Send) -> Response | None:
        """The way of a request: path, origin, link, visit, answer. None: it was answered."""
        target = asked.target
        if target is None:
            return pages.no_such_page()
        if not self._origins.trust(asked, target):
            return pages.foreign()
        if target.kind is Kind.PAGE and asked.method == "GET" and asked.token is not None:
            return await self._open(asked, target, asked.token)
        try:
            visit = await self._admission.visitor(target.session_id, asked.headers)
            if target.kind is Kind.STATUS:
                return _status(await idle.view(self._context, visit.session.id))
            if target.kind is Kind.EXTEND:
                return _status(await idle.extend(self._context, visit.session.id))
            with self._upstreams.place(visit.session.id):
                return await self._pass_on(visit, target, Request(asked, receive), send)
        except _REFUSED as error:
            return _refusal(error, target)

    async def _open(self, asked: Asked, target: Target, token: str) -> Response:
        """Trade a link's token for a cookie, and send the browser to the page without it.

        To the page of the notebook as it is called now: a file on the web has given it another name
        since the link was made, if the link was early.
        """
        record = self._audit.begin(
            "notebook", str(uuid4()), asked.client, asked.headers, self._context.clock.now()
        )
        record.operation = "OpenNotebook"
        record.parameters = {"SessionId": target.session_id}
        try:
            given = self._admission.linked(target.session_id, token)
            record.principal = given.principal
            visit = await self._admission.admit(given)
        except Closed:
            record.error = "LinkRefused"
            response = pages.link_refused(target.session_id)
        except Ended as ended:
            record.error = "SessionEnded"
            response = pages.ended(ended.session, Kind.PAGE)
        else:
            account, session = self._context.account, visit.session
            record.resource = account.session(session.work_group, session.id)
            cookie = self._admission.cookie(given, secure=self._origins.secure(asked.headers))
            response = pages.welcome(page_of(session.id, visit.name), cookie)
        record.status = response.status_code
        self._audit.write(record)
        return response

    async def _pass_on(
        self, visit: Visit, target: Target, request: Request, send: Send
    ) -> Response | None:
        """Ask the session's Jupyter server, once it listens, and hand on what it says. None: done.

        Who asks for a page of another name than the notebook's is sent to that of the notebook.
        """
        asked = request.asked
        origin = self._origins.own(target.session_id, asked.headers) or ""
        async for now, driver in self._drivers(visit):
            try:
                async with self._upstreams.ask(driver, target, request) as response:
                    if response.status_code == 404 and target.is_page_of_another(now.name):
                        return pages.elsewhere(page_of(now.session.id, now.name))
                    stored = asked.versioned and response.status_code == 200
                    ours = pages.beside(target, origin, stored=stored)
                    await upstream.send_on(send, response, ours)
                    return None
            except NotThere:
                continue
        raise NotThere

    async def _drivers(self, visit: Visit) -> AsyncIterator[tuple[Visit, Driver]]:
        """The visit as it is now and the session's driver, once it has one, again and again while
        there is a point in it.

        Raises :class:`Ended` or :class:`Closed` when that comes about meanwhile.
        """
        clock = self._context.clock
        until = clock.monotonic() + _PATIENT_S
        while True:
            if visit.driver is not None:
                yield visit, visit.driver
            if clock.monotonic() >= until:
                return
            await clock.wait(asyncio.Event(), _PAUSE_S)
            visit = await self._admission.admit(visit.given)

    # --- WebSockets ----------------------------------------------------------------------------

    async def _socket(self, page: WebSocket, asked: Asked) -> None:
        # The browser may have left before it had an answer.
        with suppress(WebSocketDisconnect):
            refusal = await self._carry(page, asked)
            if refusal is not None:
                await page.send_denial_response(refusal)

    async def _carry(self, page: WebSocket, asked: Asked) -> Response | None:
        """The way of an upgrade, as :meth:`_answer`'s; None: it was carried to its end."""
        target = asked.target
        if target is None:
            return pages.no_such_page()
        if not self._origins.trust(asked, target):
            return pages.foreign()
        try:
            visit = await self._admission.visitor(target.session_id, asked.headers)
            with self._upstreams.place(visit.session.id):
                await self._join(page, visit, target, asked)
        except _REFUSED as error:
            return _refusal(error, target)
        return None

    async def _join(self, page: WebSocket, visit: Visit, target: Target, asked: Asked) -> None:
        async for _, driver in self._drivers(visit):
            try:
                async with self._upstreams.connect(driver, target, asked) as socket:
                    await page.accept(socket.subprotocol)
                    await relay(
                        page,
                        socket,
                        lambda: self._while_open(visit.given),
                        acknowledge=target.is_channels,
                    )
                    return
            except NotThere:
                continue
        raise NotThere

    async def _while_open(self, given: Pass) -> None:
        """Returns when the visit is over: the session ended, or its principal may not stay."""
        clock = self._context.clock
        counted_at = float("-inf")
        while True:
            await clock.wait(asyncio.Event(), _LOOK_S)
            try:
                visit = await self._admission.admit(given)
            except (Closed, Ended):
                return
            if self._open_page_is_activity and clock.monotonic() - counted_at >= _ACTIVITY_S:
                counted_at = clock.monotonic()
                await idle.extend(self._context, visit.session.id)


def _refusal(error: Exception, target: Target) -> Response:
    if isinstance(error, Closed):
        return pages.closed(target)
    if isinstance(error, Ended):
        return pages.ended(error.session, target.kind)
    if isinstance(error, Broken):
        log.warning("a notebook's server did not answer", extra={"why": str(error)})
        return pages.broken()
    if isinstance(error, BodyTooLarge):
        return pages.too_large(upstream.LARGEST)
    return pages.not_yet(target.kind)


def _status(view: dict[str, object]) -> Response:
    return JSONResponse(view, headers=pages.security())

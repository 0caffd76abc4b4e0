"""The notebook door's own pages, and the headers that go with everything it answers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from starlette.responses import HTMLResponse, JSONResponse, Response

from sparkowl.domain.session import Session
from sparkowl.http.notebook_paths import Kind, Target

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{refresh}
<style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em}}</style></head>
<body><h1>{title}</h1>{paragraphs}</body></html>
"""
#: What is shown of a text, which may hold what user code wrote.
_LONGEST: Final = 2_000
#: How soon a page that waits asks again.
_AGAIN_S: Final = 5
#: Of pages without a script.
_PLAIN: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
#: Of what is not to be shown, should somebody try.
_DATA: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_CLOSED: Final = "This notebook is closed to you"
_NO_VISIT: Final = "A notebook is opened by a link, which works for some minutes."
_BAD_LINK: Final = "The link is over, or it was made for something else."


def no_such_page() -> Response:
    return _message(404, "There is no such page.")


def foreign() -> Response:
    return _message(403, "The request does not come from a page of this session.")


def closed(target: Target) -> Response:
    """No cookie, or one that is good for nothing."""
    if target.kind is Kind.PAGE:
        return _page(403, _CLOSED, _NO_VISIT, *_how(target.session_id))
    return _message(403, _NO_VISIT)


def link_refused(session_id: str) -> Response:
    response = _page(403, _CLOSED, _BAD_LINK, *_how(session_id))
    response.headers["referrer-policy"] = "no-referrer"
    return response


def welcome(path: str, cookie: str) -> Response:
    """To the page, without the token in its address. ``path`` is one of this server."""
    response = Response(status_code=303, headers=security())
    response.headers["location"] = path
    response.headers["set-cookie"] = cookie
    response.headers["referrer-policy"] = "no-referrer"
    return response


def ended(session: Session, kind: Kind) -> Response:
    if kind is not Kind.PAGE:
        # The page that is open says why.
        why = {"state": str(session.state), "reason": session.reason}
        return _message(410, f"The session is {session.state}.", **why)
    return _page(
        410,
        "The session has ended",
        f"Session {session.id} is {session.state}.",
        session.reason or "",
        "What was saved of the notebook is kept. Start another session to go on with it.",
    )


def not_yet(kind: Kind) -> Response:
    if kind is Kind.PAGE:
        text = "Its notebook server is not up yet. This page tries again by itself."
        response = _page(503, "The session is starting", text, refresh_s=_AGAIN_S)
    else:
        response = _message(503, "The session's notebook server is not up yet; try again.")
    response.headers["retry-after"] = str(_AGAIN_S)
    return response


def broken() -> Response:
    return _message(502, "The session's notebook server did not answer.")


def too_large(limit: int) -> Response:
    response = _message(413, f"A request's body has at most {limit} bytes.")
    # The rest of the body would be taken for the next request.
    response.headers["connection"] = "close"
    return response


def security(*, stored: bool = False) -> dict[str, str]:
    """The headers of every answer. ``stored``: the browser may keep it, for it never changes."""
    return {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        # The page's own requests say from which session's page they come; nobody else hears of it.
        "referrer-policy": "same-origin",
        "cache-control": "private, max-age=31536000, immutable" if stored else "no-store",
    }


def beside(target: Target, origin: str, *, stored: bool) -> Sequence[tuple[str, str]]:
    """The headers that go with an answer of Jupyter's."""
    policy = _DATA if target.kind is Kind.API else _policy(origin + target.base)
    return [*security(stored=stored).items(), ("content-security-policy", policy)]


def _policy(own: str) -> str:
    """The content policy of what Jupyter answers, below the address ``own``.

    The page of one session may load and ask only what is under its own path: ``'self'`` would let
    it reach the notebooks of others, whose cookies the browser has as well. Notebook 7 needs inline
    scripts and styles, and so do the outputs of most plotting libraries; its settings are checked
    by code that it makes (``unsafe-eval``).
    """
    socket = own.replace("http", "ws", 1)
    return "; ".join(
        (
            f"default-src {own}",
            f"script-src {own} 'unsafe-inline' 'unsafe-eval'",
            f"style-src {own} 'unsafe-inline'",
            f"img-src {own} data: blob:",
            f"font-src {own} data:",
            f"media-src {own} data: blob:",
            f"connect-src {own} {socket} data: blob:",
            f"worker-src {own} blob:",
            "frame-src data: blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _page(status: int, title: str, *paragraphs: str, refresh_s: int | None = None) -> Response:
    """A page of plain text; everything is escaped here."""
    said = "".join(f"<p>{html.escape(text[:_LONGEST])}</p>" for text in paragraphs)
    again = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    text = _PAGE.format(title=html.escape(title), paragraphs=said, refresh=again)
    return HTMLResponse(text, status, security() | {"content-security-policy": _PLAIN})


def _message(status: int, text: str, **more: str | None) -> Response:
    """A refusal as Jupyter's page reads it."""
    headers = security() | {"content-security-policy": _DATA}
    return JSONResponse({"message": text} | more, status, headers)


def _how(session_id: str) -> tuple[str, str]:
    return (
        "Ask for a new one with CreatePresignedNotebookUrl, as long as the session lives:",
        f"aws athena create-presigned-notebook-url --session-id {session_id}",
    )

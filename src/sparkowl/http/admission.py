"""Who may see a session's notebook: asked anew for each request, and while a socket is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from sparkowl.access.standing import Standing
from sparkowl.domain.driver import Driver
from sparkowl.domain.notebook import jupyter_base
from sparkowl.domain.session import ACTIVE, Session
from sparkowl.domain.visits import Pass, Purpose, new_pass, seal, unseal
from sparkowl.operations import Context
from sparkowl.store import drivers, notebooks, sessions

COOKIE: Final = "sparkowl-visit"
#: Cookies of that name that are tried: a neighbouring host may have set others.
_TRIED: Final = 4
#: What a link needs, and so whoever stays.
ACTION: Final = "athena:CreatePresignedNotebookUrl"


class Closed(Exception):
    """No valid visit: whoever asks is told nothing of the session."""


class Ended(Exception):
    """The visit is valid, but the session is no more."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.id)
        self.session = session


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Somebody who may see the notebook of a session that lives."""

    given: Pass
    session: Session
    #: None: it has none yet.
    driver: Driver | None
    #: The notebook's name, without ``.ipynb``.
    name: str


class Admission:
    """Turns tokens into visits."""

    def __init__(self, context: Context, standing: Standing, visit: timedelta) -> None:
        self._context = context
        self._standing = standing
        self._visit = visit

    def linked(self, session_id: str, token: str) -> Pass:
        """What a link says; :class:`Closed` for one that is not this session's, or is over."""
        key, now = self._context.notebooks.key, self._context.clock.now()
        given = unseal(key, Purpose.LINK, token, session_id, now)
        if given is None:
            raise Closed
        return given

    def cookie(self, link: Pass, *, secure: bool) -> str:
        """The value of Set-Cookie that makes a visit of a link."""
        until = self._context.clock.now() + self._visit
        visit = new_pass(link.session_id, link.principal, until)
        token = seal(self._context.notebooks.key, Purpose.VISIT, visit)
        seconds = int(self._visit.total_seconds())
        flags = "; Secure" if secure else ""
        return (
            f"{COOKIE}={token}; Path={jupyter_base(link.session_id)}; Max-Age={seconds}; "
            f"HttpOnly; SameSite=Lax{flags}"
        )

    async def visitor(self, session_id: str, headers: Mapping[str, str]) -> Visit:
        """Who a request's cookie lets in. Raises :class:`Closed` or :class:`Ended`.

        Strangers cost some HMACs, and no look at anything.
        """
        key, now = self._context.notebooks.key, self._context.clock.now()
        for token in _cookies(headers.get("cookie", "")):
            given = unseal(key, Purpose.VISIT, token, session_id, now)
            if given is not None:
                return await self.admit(given)
        raise Closed

    async def admit(self, given: Pass) -> Visit:
        """The same for what was checked before: it may be over, or taken back, by now."""
        if self._context.clock.now() >= given.expires_at:
            raise Closed

        def read(tx: Connection) -> tuple[Session | None, Driver | None, str]:
            session = sessions.find(tx, given.session_id)
            if session is None or not session.has_jupyter:
                return None, None, ""
            return session, drivers.of_session(tx, session.id), notebooks.name_of(tx, session)

        session, driver, name = await self._context.store.read(read)
        if session is None:
            raise Closed
        principal = await self._standing.of(given.principal)
        arn = self._context.account.work_group(session.work_group)
        if principal is None or not principal.allows(ACTION, arn):
            raise Closed
        if session.state not in ACTIVE:
            raise Ended(session)
        return Visit(given=given, session=session, driver=driver, name=name)


def _cookies(header: str) -> list[str]:
    """The values of our cookie. Not read with others, of which one may be malformed."""
    found = []
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            found.append(value)
    return found[:_TRIED]

"""Servers in the store, and what each of them looks after."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import ServerId, SessionId
from sparkowl.domain.server import Place, Server
from sparkowl.store import tables
from sparkowl.store.tables import micros, moment

_t: Final = tables.servers.c
_s: Final = tables.sessions.c
_d: Final = tables.drivers.c

#: Why a member of a dead server's pool ends.
EARLIER_SERVER: Final = "An earlier server started it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """What was taken over."""

    #: With those that have ended, but whose drivers may not have.
    sessions: tuple[SessionId, ...]
    #: Members of pools, to be ended.
    members: int


def list_all(connection: Connection) -> Sequence[Server]:
    return [_server(row) for row in connection.execute(select(tables.servers))]


def renew(connection: Connection, server: Server) -> bool:
    """Write the lease's new end; False: the row was gone, and is there again."""
    row = {
        "url": server.url,
        "place": json.dumps(asdict(server.place)),
        "started_at": micros(server.started_at),
        "expires_at": micros(server.expires_at),
    }
    renewed = connection.execute(update(tables.servers).where(_t.id == server.id).values(**row))
    if renewed.rowcount == 1:
        return True
    connection.execute(insert(tables.servers).values(id=server.id, **row))
    return False


def remove(connection: Connection, server_id: ServerId) -> None:
    """A server that says goodbye: what it still has is the others' from now on."""
    connection.execute(delete(tables.servers).where(_t.id == server_id))


def take_over(connection: Connection, server_id: ServerId, dead: Collection[Server]) -> Estate:
    """Give what the dead servers had to this one, and what no server has.

    A server that renewed its lease since it was found dead keeps everything. What moves gets a new
    version: whoever still acts on what it saw before fails with ``Conflict``.
    """
    for server in dead:
        seen = and_(_t.id == server.id, _t.expires_at == micros(server.expires_at))
        connection.execute(delete(tables.servers).where(seen))
    moved = connection.execute(
        update(tables.sessions)
        .where(_ORPHANED_SESSIONS)
        .values(server=server_id, version=_s.version + 1)
        .returning(_s.id)
    )
    ids = tuple(SessionId(row.id) for row in moved)
    members = connection.execute(
        update(tables.drivers)
        .where(_ORPHANED_MEMBERS)
        .values(server=server_id, reason=func.coalesce(_d.reason, EARLIER_SERVER))
    )
    return Estate(sessions=ids, members=members.rowcount)


def has_orphans(connection: Connection) -> bool:
    """Whether there is anything that no server looks after."""
    for query in (
        select(_s.id).where(_ORPHANED_SESSIONS).limit(1),
        select(_d.id).where(_ORPHANED_MEMBERS).limit(1),
    ):
        if connection.execute(query).first() is not None:
            return True
    return False


def sessions_of(connection: Connection, server_id: ServerId) -> Sequence[SessionId]:
    """What the server has to look after."""
    query = select(_s.id).where(_NOT_DONE, _s.server == server_id)
    return [SessionId(found) for found in connection.execute(query).scalars()]


def owner_of(connection: Connection, driver: Driver) -> ServerId | None:
    """The server that looks after a driver: its session's, else the pool's that it waits in."""
    if driver.session_id is None:
        return driver.server
    query = select(_s.server).where(_s.id == driver.session_id)
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else ServerId(found)


def shift(
    connection: Connection,
    server_id: ServerId,
    micro_seconds: int,
    *,
    since: datetime,
    until: datetime,
) -> None:
    """Move the times that decisions hang on, of what lives and is this server's, after somebody set
    the clock. Times from ``since`` to ``until`` were written by the new clock and stay."""

    def old(column: Any) -> Any:
        return or_(column < micros(since), column > micros(until))

    for column in (_s.idle_since, _s.active_at):
        moved = update(tables.sessions).where(
            _s.ended_at.is_(None), _s.server == server_id, old(column)
        )
        if column is _s.active_at:
            # Usage counts from here once the session is in use; before, only patience does.
            waiting = select(_d.session_id).where(_d.ended_at.is_(None), _d.adopted_at.is_(None))
            moved = moved.where(_s.id.in_(waiting))
        connection.execute(moved.values({column.name: column + micro_seconds}))
    ours = or_(
        and_(_d.session_id.is_(None), _d.server == server_id),
        _d.session_id.in_(select(_s.id).where(_s.ended_at.is_(None), _s.server == server_id)),
    )
    connection.execute(
        update(tables.drivers)
        .where(_d.ended_at.is_(None), _d.adopted_at.is_(None), ours, old(_d.created_at))
        .values(created_at=_d.created_at + micro_seconds)
    )


def _unserved(column: Any) -> Any:
    return or_(column.is_(None), column.not_in(select(_t.id)))


#: Also one that has ended, as long as its driver has not.
_NOT_DONE: Final = or_(
    _s.ended_at.is_(None),
    _s.id.in_(select(_d.session_id).where(_d.ended_at.is_(None), _d.session_id.is_not(None))),
)
_ORPHANED_SESSIONS: Final = and_(_NOT_DONE, _unserved(_s.server))
_ORPHANED_MEMBERS: Final = and_(
    _d.session_id.is_(None), _d.ended_at.is_(None), _unserved(_d.server)
)


def _server(row: Row[Any]) -> Server:
    return Server(
        id=ServerId(row.id),
        url=row.url,
        place=Place(**json.loads(row.place)),
        started_at=moment(row.started_at),
        expires_at=moment(row.expires_at),
    )

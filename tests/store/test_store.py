"""Transactions: many writers, one commit, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from tests.builders import AT, LATER, make_session

from sparkowl import telemetry
from sparkowl.domain.errors import Conflict
from sparkowl.domain.session import Event, Session, State
from sparkowl.store import Store, history, sessions
from sparkowl.store.engine import Place
from sparkowl.store.store import QUEUE_LENGTH


def adding(session: Session) -> Callable[[Connection], str]:
    def write(tx: Connection) -> str:
        sessions.insert_session(tx, session)
        return session.id

    return write


def failing(tx: Connection) -> None:
    sessions.insert_session(tx, make_session())
    raise LookupError("no")


async def test_many_writers_at_once_are_all_written(store: Store) -> None:
    new = [make_session() for _ in range(300)]

    written = await asyncio.gather(*(store.write(adding(session)) for session in new))

    assert written == [session.id for session in new]
    assert len(await store.read(sessions.list_live)) == 300


async def test_one_writer_that_fails_does_no_harm_to_the_others_of_its_batch(store: Store) -> None:
    good = [make_session() for _ in range(20)]

    results = await asyncio.gather(
        *(store.write(work) for session in good for work in (adding(session), failing)),
        return_exceptions=True,
    )

    assert results[::2] == [session.id for session in good]
    assert all(isinstance(error, LookupError) for error in results[1::2])
    assert {s.id for s in await store.read(sessions.list_live)} == {s.id for s in good}


async def test_more_writers_than_places_wait_for_one(store: Store) -> None:
    results = await asyncio.gather(
        *(store.write(lambda tx: tx.scalar(text("SELECT 1"))) for _ in range(QUEUE_LENGTH + 50))
    )

    assert results == [1] * (QUEUE_LENGTH + 50)


async def test_what_was_written_can_be_read_at_once(store: Store) -> None:
    for _ in range(50):
        session = make_session()
        await store.write(adding(session))
        assert await store.read(partial(sessions.get, session_id=session.id)) == session


async def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"):
        await store.read(adding(make_session()))


async def test_a_caller_that_gave_up_does_not_stop_the_writer(store: Store) -> None:
    session = make_session()
    waiting = asyncio.ensure_future(store.write(adding(session)))
    await asyncio.sleep(0)

    waiting.cancel()

    await asyncio.gather(waiting, return_exceptions=True)
    await store.write(adding(make_session()))
    assert await store.read(lambda tx: sessions.find(tx, session.id)) is not None


def test_a_caller_whose_event_loop_has_ended_does_not_stop_the_writer(store: Store) -> None:
    async def ask_and_leave() -> None:
        task = asyncio.ensure_future(store.write(adding(make_session())))
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(20):
        asyncio.run(ask_and_leave())
    added = asyncio.run(store.write(adding(make_session())))

    assert added


async def test_two_decisions_on_one_version_cannot_both_be_written(store: Store) -> None:
    session = make_session()
    await store.write(adding(session))

    await store.write(lambda tx: sessions.replace(tx, session, Event.WORK_STARTED, at=LATER))

    with pytest.raises(Conflict):
        await store.write(lambda tx: sessions.replace(tx, session, Event.IDLE_TIMED_OUT, at=LATER))
    now = await store.read(lambda tx: sessions.get(tx, session.id))
    assert (now.state, now.version) == (State.BUSY, 2)


async def test_a_request_changes_the_session_as_it_is_now(store: Store) -> None:
    session = make_session()
    await store.write(adding(session))

    await asyncio.gather(
        *(
            store.write(lambda tx: sessions.change(tx, session.id, Event.TERMINATE_ASKED, at=AT))
            for _ in range(10)
        )
    )

    events = await store.read(lambda tx: sessions.history(tx, session.id))
    assert [event.event for event in events] == ["START_ASKED", "TERMINATE_ASKED"]


async def test_the_log_line_of_a_change_has_the_id_of_the_request(store: Store) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(telemetry.TextFormatter())
    changes = logging.getLogger(history.__name__)
    changes.addHandler(handler)
    changes.setLevel(logging.INFO)

    try:
        with telemetry.request("request-7"):
            await store.write(adding(make_session()))
    finally:
        changes.removeHandler(handler)
        changes.setLevel(logging.NOTSET)

    assert "session changed" in written.getvalue()
    assert "request_id=request-7" in written.getvalue()


_WRITER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    place = Path(sys.argv[1]) if sys.argv[1].startswith("/") else sys.argv[1]
    sys.path.insert(0, sys.argv[2])
    from sparkowl.store import Store, history, sessions
    from tests.builders import make_session

    async def main():
        store = Store.open(place)
        async def one():
            while True:
                session = make_session()
                await store.write(lambda tx: sessions.insert_session(tx, session))
                print(session.id, flush=True)
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(main())
""")


async def test_kill_9_in_the_middle_of_writes_loses_nothing_acknowledged(place: Place) -> None:
    here = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(place), here], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(100)]

        os.kill(process.pid, signal.SIGKILL)

        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    store = Store.open(place)
    kept = {session.id for session in await store.read(sessions.list_live)}
    store.close()
    assert {*acknowledged} <= kept

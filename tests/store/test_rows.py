"""Rows come back as they were written; races have one winner; pages stay right."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.builders import AT, LATER, make_calculation, make_driver, make_session

from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import ServerId, SessionId
from sparkowl.domain.reason import Code
from sparkowl.domain.session import Event, Session, State
from sparkowl.domain.workgroup import built_in
from sparkowl.store import Store, calculations, drivers, sessions, tokens, workgroups
from sparkowl.store.tables import micros, moment

SERVER = ServerId("server")


async def add(store: Store, *new: Session) -> None:
    def write(tx: Connection) -> None:
        for session in new:
            sessions.insert_session(tx, session)

    await store.write(write)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_to_the_microsecond(at: datetime) -> None:
    assert moment(micros(at)) == at


async def test_a_session_comes_back_as_it_was_written(store: Store) -> None:
    session = make_session(
        description="ü\U0001f989\n",
        request={"EngineConfiguration": {"SparkProperties": {"spark.a": "ü"}}},
        idle_timeout=timedelta(minutes=7),
        timeline={"asked": 1.5},
        reason="why",
        ended_at=LATER,
    )

    await add(store, session)

    assert await store.read(lambda tx: sessions.get(tx, session.id)) == session


async def test_a_calculation_and_a_driver_come_back_as_they_were_written(store: Store) -> None:
    session = make_session()
    calculation = make_calculation(session_id=session.id, code="'; DROP TABLE sessions; --")
    driver = make_driver(
        session_id=session.id, details={"marks": {"jvm": 1.25}}, reason="x", code=Code.USER
    )
    await add(store, session)

    await store.write(lambda tx: calculations.insert_calculation(tx, calculation))
    await store.write(lambda tx: drivers.insert_driver(tx, driver))

    assert await store.read(lambda tx: calculations.get(tx, calculation.id)) == calculation
    assert await store.read(lambda tx: drivers.of_session(tx, session.id)) == driver


@pytest.mark.parametrize("room", [sessions, calculations])
async def test_an_unknown_id_is_an_invalid_request(store: Store, room: object) -> None:
    get = sessions.get if room is sessions else calculations.get

    with pytest.raises(InvalidRequest, match="nowhere is not found"):
        await store.read(lambda tx: get(tx, "nowhere"))


async def test_every_change_is_a_row_of_the_history(store: Store) -> None:
    session = make_session(state=State.CREATING)
    await add(store, session)

    for event in (Event.DRIVER_READY, Event.ADOPTED, Event.ADOPTED, Event.TERMINATE_ASKED):
        await store.write(
            partial(sessions.change, session_id=session.id, event=event, at=LATER, reason="r")
        )

    rows = await store.read(lambda tx: sessions.history(tx, session.id))
    assert [(row.event, row.from_state, row.to_state, row.reason, row.at) for row in rows] == [
        ("START_ASKED", None, "CREATING", None, AT),
        ("DRIVER_READY", "CREATING", "CREATED", "r", LATER),
        ("ADOPTED", "CREATED", "IDLE", "r", LATER),
        ("TERMINATE_ASKED", "IDLE", "TERMINATING", "r", LATER),
    ]


async def test_the_history_of_a_calculation_is_kept_too(store: Store) -> None:
    session = make_session()
    calculation = make_calculation(
        session_id=session.id, state=calculation_domain.State.CREATING, started_at=None
    )
    await add(store, session)
    await store.write(lambda tx: calculations.insert_calculation(tx, calculation))

    for event in (calculation_domain.Event.STARTED, calculation_domain.Event.FAILED):
        await store.write(
            partial(
                calculations.change,
                calculation_id=calculation.id,
                event=event,
                at=LATER,
                reason="boom",
            )
        )

    rows = await store.read(lambda tx: calculations.history(tx, calculation.id))
    assert [(row.event, row.to_state, row.reason) for row in rows] == [
        ("START_ASKED", "CREATING", None),
        ("STARTED", "RUNNING", None),
        ("FAILED", "FAILED", "boom"),
    ]


async def test_progress_only_grows_and_only_while_it_runs(store: Store) -> None:
    session, calculation = make_session(), make_calculation()
    calculation = replace(calculation, session_id=session.id)
    await add(store, session)
    await store.write(lambda tx: calculations.insert_calculation(tx, calculation))

    async def progress(percent: int) -> int:
        await store.write(lambda tx: calculations.set_progress(tx, calculation.id, percent))
        return (await store.read(lambda tx: calculations.get(tx, calculation.id))).progress

    assert [await progress(percent) for percent in (10, 40, 20)] == [10, 40, 40]
    await store.write(
        lambda tx: calculations.change(
            tx, calculation.id, calculation_domain.Event.FAILED, at=LATER, reason="x"
        )
    )
    assert await progress(90) == 40


# --- warm drivers ------------------------------------------------------------------------------


async def test_a_warm_driver_is_given_once_when_many_ask_for_it(store: Store) -> None:
    warm = [make_driver(session_id=None, adopted_at=None, server=SERVER) for _ in range(3)]
    for driver in warm:
        await store.write(partial(drivers.insert_driver, driver=driver))

    taken = await asyncio.gather(
        *(
            store.write(
                partial(
                    drivers.take_warm,
                    fingerprint="f" * 64,
                    session_id=SessionId(f"session-{n}"),
                    server=SERVER,
                )
            )
            for n in range(10)
        )
    )

    given = [driver for driver in taken if driver is not None]
    assert sorted(driver.id for driver in given) == sorted(driver.id for driver in warm)
    assert all(driver.session_id == f"session-{n}" for n, driver in enumerate(taken) if driver)


@pytest.mark.parametrize(
    "unfit",
    [
        {"fingerprint": "e" * 64},
        {"ready_at": None},
        {"ended_at": AT},
        {"reason": "It leaves the pool."},
        {"session_id": SessionId("taken")},
        {"server": ServerId("another")},
    ],
    ids=lambda unfit: str(next(iter(unfit))),
)
async def test_a_driver_that_does_not_fit_is_not_given(
    store: Store, unfit: dict[str, object]
) -> None:
    driver = make_driver(**({"session_id": None, "adopted_at": None, "server": SERVER} | unfit))
    await store.write(lambda tx: drivers.insert_driver(tx, driver))

    taken = await store.write(lambda tx: drivers.take_warm(tx, "f" * 64, SessionId("new"), SERVER))

    assert taken is None


async def test_a_driver_is_either_withdrawn_or_given_never_both(store: Store) -> None:
    driver = make_driver(session_id=None, adopted_at=None, server=SERVER)
    await store.write(lambda tx: drivers.insert_driver(tx, driver))

    given, withdrawn = await asyncio.gather(
        store.write(lambda tx: drivers.take_warm(tx, "f" * 64, SessionId("new"), SERVER)),
        store.write(lambda tx: drivers.withdraw(tx, driver.id, "old")),
    )

    assert (given is not None, withdrawn) == (True, False)
    assert await store.write(lambda tx: drivers.withdraw(tx, driver.id, "old")) is False


async def test_the_first_reason_of_a_drivers_end_is_kept(store: Store) -> None:
    driver = make_driver()
    await store.write(lambda tx: drivers.insert_driver(tx, driver))

    for reason, code in (("the cause", Code.MEMORY), ("a consequence", Code.CRASH)):
        await store.write(
            partial(drivers.set_reason, driver_id=driver.id, reason=reason, code=code)
        )
    for at in (AT, LATER):
        await store.write(partial(drivers.set_ended, driver_id=driver.id, at=at))

    kept = await store.read(lambda tx: drivers.get(tx, driver.id))
    assert kept is not None
    assert (kept.reason, kept.code, kept.ended_at) == ("the cause", Code.MEMORY, AT)


# --- pages -------------------------------------------------------------------------------------


async def test_pages_of_sessions_stay_right_while_sessions_come_and_end(store: Store) -> None:
    # Three of each age, so that the id has to decide.
    old = [make_session(created_at=AT + timedelta(seconds=n // 3)) for n in range(12)]
    await add(store, *old)
    await add(store, make_session(work_group="other"), make_session(state=State.BUSY))
    states = {State.IDLE}
    _, spark = built_in(AT)
    seen: list[Session] = []
    after = None

    while True:
        page = await store.read(
            partial(sessions.list_page, work_group=spark, states=states, after=after, limit=5)
        )
        if not page:
            break
        seen += page
        after = (micros(page[-1].created_at), page[-1].id)
        # Newer ones come in front, and one that was seen leaves.
        await add(store, make_session(created_at=LATER))
        gone = page[0].id
        await store.write(
            partial(sessions.change, session_id=gone, event=Event.TERMINATE_ASKED, at=LATER)
        )

    newest_first = sorted(old, key=lambda s: (s.created_at, s.id), reverse=True)
    assert [session.id for session in seen] == [session.id for session in newest_first]


async def test_workgroups_are_listed_by_name(store: Store) -> None:
    for group in built_in(AT):
        await store.write(partial(workgroups.insert_work_group, work_group=group))

    first = await store.read(lambda tx: workgroups.list_page(tx, after=None, limit=1))
    second = await store.read(lambda tx: workgroups.list_page(tx, after="primary", limit=5))

    assert [[group.name for group in page] for page in (first, second)] == [["primary"], ["spark"]]
    assert first[0] == built_in(AT)[0]


# --- tokens ------------------------------------------------------------------------------------


async def test_of_many_requests_with_one_token_only_one_makes_something(store: Store) -> None:
    asked = tokens.Asked("StartSession", "root", {"ClientRequestToken": "t" * 32})

    def start(tx: Connection) -> str:
        known = tokens.find(tx, asked)
        if known is not None:
            return known
        session = make_session()
        sessions.insert_session(tx, session)
        tokens.insert_token(tx, asked, session.id, AT)
        return session.id

    answers = await asyncio.gather(*(store.write(start) for _ in range(20)))

    assert len(set(answers)) == 1
    assert len(await store.read(sessions.list_live)) == 1


async def test_a_token_belongs_to_its_operation_and_its_parameters(store: Store) -> None:
    request = {"ClientRequestToken": "t" * 32, "WorkGroup": "spark"}
    asked = tokens.Asked("StartSession", "root", request)
    await store.write(lambda tx: tokens.insert_token(tx, asked, "id", AT))

    again = replace(asked, request={"WorkGroup": "spark", "ClientRequestToken": "t" * 32})
    assert await store.read(lambda tx: tokens.find(tx, again)) == "id"
    other = replace(asked, operation="Other")
    assert await store.read(lambda tx: tokens.find(tx, other)) is None
    changed = replace(asked, request=request | {"WorkGroup": "primary"})
    with pytest.raises(InvalidRequest, match="Idempotent parameters do not match"):
        await store.read(lambda tx: tokens.find(tx, changed))


@pytest.mark.parametrize(
    ("owner", "other"), [("root", "alice"), ("alice", "root"), ("alice", "bob")]
)
async def test_a_token_belongs_to_its_principal(store: Store, owner: str, other: str) -> None:
    request = {"ClientRequestToken": "t" * 32, "WorkGroup": "spark"}
    first = tokens.Asked("StartSession", owner, request)
    second = tokens.Asked("StartSession", other, request | {"WorkGroup": "primary"})
    await store.write(lambda tx: tokens.insert_token(tx, first, "1", AT))

    same = replace(first, principal=other)
    assert await store.read(lambda tx: tokens.find(tx, same)) is None
    assert await store.read(lambda tx: tokens.find(tx, second)) is None
    await store.write(lambda tx: tokens.insert_token(tx, second, "2", AT))
    assert await store.read(lambda tx: tokens.find(tx, first)) == "1"
    assert await store.read(lambda tx: tokens.find(tx, second)) == "2"

"""How long idle sessions stay, and how the page makes them stay longer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.stories.world import World, world

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, SessionId
from sparkowl.domain.notebook import Notebook, Version, empty
from sparkowl.domain.session import Event
from sparkowl.operations import idle
from sparkowl.store import notebooks, sessions

#: Of sessions that do not ask for another.
TIMEOUT_S = 20 * 60


async def stops_in(w: World, session_id: str) -> float | None:
    answer = await idle.view(w.context, session_id)
    stops_in_s = answer["stops_in_s"]
    assert stops_in_s is None or isinstance(stops_in_s, float)
    return stops_in_s


async def test_an_idle_session_says_when_it_stops_and_when_to_warn(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(90)

        answer = await idle.view(w.context, session_id)

        assert answer == {
            "state": "IDLE",
            "reason": None,
            "stops_in_s": TIMEOUT_S - 90.0,
            "warn_s": 120.0,
            "name": None,
        }


async def test_a_session_that_has_ended_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(TIMEOUT_S)

        answer = await idle.view(w.context, session_id)

        assert (answer["state"], answer["stops_in_s"]) == ("TERMINATED", None)
        assert answer["reason"] == (await w.session(session_id)).reason
        assert "Nothing ran in it for 20 minutes." in answer["reason"]


async def test_a_notebook_session_says_what_its_notebook_is_called(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start(NotebookVersion="Jupyter1.0")
        unsaved = (await idle.view(w.context, session_id))["name"]
        now, notebook_id = w.clock.now(), NotebookId("n")
        made = Notebook(
            id=notebook_id, work_group="spark", name="Sales", created_at=now, modified_at=now
        )
        first = Version(number=1, payload=empty(), saved_at=now)
        await w.store.write(lambda tx: notebooks.insert_notebook(tx, made, first))
        await w.store.write(lambda tx: sessions.set_notebook(tx, session_id, notebook_id))

        assert unsaved == f"notebook-{session_id}"
        assert (await idle.view(w.context, session_id))["name"] == "Sales"


async def test_an_extended_session_stays_its_whole_idle_time_once_more(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(TIMEOUT_S - 1)

        answer = await w.extend(session_id)

        assert (answer["state"], answer["stops_in_s"]) == ("IDLE", TIMEOUT_S)
        await w.advance(TIMEOUT_S - 1)
        assert await w.state(session_id) == "IDLE"
        await w.advance(1)
        assert await w.state(session_id) == "TERMINATED"
        # Of states; an open page may extend each minute.
        assert await w.history(session_id) == [
            "CREATING", "CREATED", "IDLE", "TERMINATING", "TERMINATED",
        ]  # fmt: skip


async def test_a_session_that_is_not_idle_is_not_changed_by_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.never_ready = True
        creating = await w.start()
        w.launcher.knobs.never_ready = False
        busy, ended = await w.start(), await w.start()
        await w.run_cell(busy, "hang")
        await w.terminate(ended)
        before = [await w.session(each) for each in (creating, busy, ended)]

        answers = [await w.extend(each) for each in (creating, busy, ended)]

        assert [answer["state"] for answer in answers] == ["CREATING", "BUSY", "TERMINATED"]
        assert [answer["stops_in_s"] for answer in answers] == [None] * 3
        assert [await w.session(each) for each in (creating, busy, ended)] == before


@pytest.mark.parametrize("ask", [idle.view, idle.extend])
async def test_of_an_unknown_session_nothing_is_known(tmp_path: Path, ask: object) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(InvalidRequest, match="is not found"):
            await ask(w.context, "00000000-0000-4000-8000-000000000000")  # type: ignore[operator]


async def test_an_idle_stop_that_is_decided_when_the_page_extends_does_not_happen(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        later = w.clock.now() + timedelta(seconds=TIMEOUT_S)

        def extend(tx: Connection) -> None:
            sessions.change(tx, session_id, Event.EXTENDED, at=later)

        w.gate.before = extend
        await w.advance(TIMEOUT_S)

        assert w.gate.before is None
        assert await w.state(session_id) == "IDLE"
        assert await stops_in(w, session_id) == TIMEOUT_S


async def test_a_cell_is_activity_and_its_end_begins_the_idle_time_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(TIMEOUT_S - 1)
        await w.run_cell(session_id, "hang")
        assert await stops_in(w, session_id) is None
        await w.advance(2 * TIMEOUT_S)

        w.launcher.complete((await w.driver(session_id)).id)
        await w.settle()

        assert await stops_in(w, session_id) == TIMEOUT_S


@pytest.mark.parametrize("seconds", [-7200, 7200])
async def test_an_extension_lasts_as_long_when_somebody_sets_the_clock(
    tmp_path: Path, seconds: float
) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(600)
        await w.extend(session_id)
        await w.advance(100)

        w.clock.jump(seconds)
        await w.advance(2)

        assert await stops_in(w, session_id) == TIMEOUT_S - 102
        w.clock.jump(seconds)
        await w.extend(session_id)
        await w.advance(2)
        assert await stops_in(w, session_id) == TIMEOUT_S - 2
        w.supervisor.wake(SessionId(session_id))
        await w.advance(TIMEOUT_S - 3)
        assert await w.state(session_id) == "IDLE"
        await w.advance(1)
        assert await w.state(session_id) == "TERMINATED"

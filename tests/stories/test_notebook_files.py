"""Sessions that begin with a file from the web."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.stories.world import LEASE_S, World, pair, world

from sparkowl.domain.notebook import Notebook, Version, empty
from sparkowl.store import notebooks, tables

FILE = "https://files.example.com/plans/first.ipynb?sig=abc"
CONTENT = json.dumps(json.loads(empty()) | {"cells": []}).encode()
FAILED = "Session failed to start [USER] NotebookFileURI: "


def asks(uri: str = FILE, **more: Any) -> dict[str, Any]:
    return {
        "NotebookVersion": "Athena notebook version 1",
        "EngineConfiguration": {"AdditionalConfigs": {"NotebookFileURI": uri}},
    } | more


async def notebook_of(w: World, session_id: str) -> tuple[Notebook, Version]:
    notebook_id = (await w.session(session_id)).notebook_id
    assert notebook_id is not None

    def read(tx: Connection) -> tuple[Notebook, Version]:
        first = notebooks.version(tx, notebook_id, 1)
        assert first is not None
        return notebooks.get(tx, notebook_id), first

    return await w.store.read(read)


async def names(w: World) -> list[str]:
    return sorted(await w.store.read(lambda tx: notebooks.names(tx, "spark")))


async def coming(w: World, times: int = 1) -> None:
    """The file is being waited for."""
    await w.settle()
    assert (w.web.waiting, len(w.web.asked)) == (1, times)


async def released(w: World, session_id: str, state: str) -> None:
    """The file comes; reading it takes a thread its time."""
    w.web.release()
    await w.settle()
    assert await w.state(session_id) == state


@pytest.mark.parametrize("pool", [0, 1])
async def test_a_file_becomes_the_sessions_notebook(tmp_path: Path, pool: int) -> None:
    async with world(tmp_path, pool=pool) as w:
        w.web.files[FILE] = CONTENT

        session_id = await w.start(**asks())

        assert await w.history(session_id) == ["CREATING", "CREATED", "IDLE"][pool:]
        notebook, first = await notebook_of(w, session_id)
        assert (notebook.name, notebook.work_group) == ("first", "spark")
        assert first.payload.encode() == CONTENT
        assert first.principal == "root"
        driver = await w.driver(session_id)
        adopt = w.launcher.adopt_of(driver.id)
        assert adopt is not None
        assert adopt.notebook == "first.ipynb"
        session = await w.session(session_id)
        assert session.timeline["asked"] <= session.timeline["notebook"]
        found = await w.call("GetSession", SessionId=session_id)
        assert found["EngineConfiguration"]["AdditionalConfigs"] == {
            "NotebookFileURI": FILE,
            "NotebookId": notebook.id,
        }


async def test_the_driver_starts_while_the_file_is_on_its_way(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()

        session_id = await w.start(**asks())

        await coming(w)
        assert await w.state(session_id) == "CREATED"
        driver = await w.driver(session_id)
        assert (driver.ready_at is None, driver.adopted_at) == (False, None)
        await w.advance(20)
        assert await w.state(session_id) == "CREATED"
        await released(w, session_id, "IDLE")
        assert w.web.asked == [FILE]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "files.example.com answered with status 404."),
        (b"no", "The file is not a notebook: it is not JSON."),
        (
            b" <!DOCTYPE html>",
            "The file is not a notebook: it is not JSON. It looks like a web page; give the "
            "address of the file itself (often called raw).",
        ),
        (b"\xff\xfe{\0}\0", "The file is not a notebook: it is not UTF-8."),
        (b'{"nbformat": 3}', "The file is not a valid notebook: its nbformat is not 4."),
    ],
)
async def test_a_file_that_becomes_no_notebook_fails_the_session(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    async with world(tmp_path, pool=1) as w:
        if content is not None:
            w.web.files[FILE] = content

        session_id = await w.start(**asks())

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason is not None
        assert session.reason.startswith(f"{FAILED}{why} Diagnose it with: ")
        assert "sig" not in session.reason
        assert await names(w) == []


async def test_a_driver_that_was_ready_is_stopped_when_the_file_does_not_come(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.web.hold()
        session_id = await w.start(**asks())
        assert w.launcher.alive == 1

        await released(w, session_id, "FAILED")

        assert await w.history(session_id) == ["CREATING", "CREATED", "FAILED"]
        assert w.launcher.alive == 0


async def test_a_calculation_that_came_early_fails_with_its_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.hold()
        session_id = await w.start(**asks())
        calculation_id = await w.calculate(session_id, "1")
        assert await w.state(session_id) == "BUSY"

        await released(w, session_id, "FAILED")

        calculation = await w.calculation(calculation_id)
        assert calculation.state == "FAILED"
        assert calculation.reason is not None
        assert "answered with status 404" in calculation.reason


async def test_a_calculation_that_came_early_runs_when_the_file_is_there(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())
        calculation_id = await w.calculate(session_id, "1")
        await w.advance(100)

        await released(w, session_id, "IDLE")

        assert (await w.calculation(calculation_id)).state == "COMPLETED"


async def test_terminating_does_not_wait_for_the_file(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())

        await w.terminate(session_id)

        assert await w.state(session_id) == "TERMINATED"
        assert w.web.waiting == 0
        w.web.release()
        await w.settle()
        assert await names(w) == []


async def test_two_files_of_one_name_are_two_notebooks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT

        first = await w.start(**asks())
        second = await w.start(**asks())

        assert await names(w) == ["first", "first (2)"]
        assert (await w.session(first)).notebook_id != (await w.session(second)).notebook_id


async def test_only_so_many_are_fetched_at_once_and_all_come(tmp_path: Path) -> None:
    async with world(tmp_path, starts_at_once=10) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        ids = [await w.start(**asks()) for _ in range(6)]
        assert w.web.waiting == 4

        w.web.release()
        await w.settle()

        assert {await w.state(session_id) for session_id in ids} == {"IDLE"}
        assert len(await names(w)) == 6


async def test_a_session_that_waits_for_a_driver_learns_early_that_its_file_is_not_there(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, starts_at_once=1) as w:
        w.launcher.knobs.never_ready = True
        await w.start()

        session_id = await w.start(**asks())

        assert await w.history(session_id) == ["CREATING", "FAILED"]


# --- servers that come and go ------------------------------------------------------------------


async def test_a_server_that_restarts_in_the_middle_fetches_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())
        await coming(w)

        await w.crash()
        assert w.web.waiting == 0
        await w.restart()

        await coming(w, times=2)
        await released(w, session_id, "IDLE")
        assert await names(w) == ["first"]


async def test_a_session_that_is_kept_over_a_stop_gets_its_file_later(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())
        await coming(w)

        await w.stop(keep_sessions=True)
        assert w.web.waiting == 0
        w.web.release()
        await w.restart()

        assert await w.state(session_id) == "IDLE"
        assert await names(w) == ["first"]


async def test_a_server_that_takes_the_session_over_fetches_the_file(tmp_path: Path) -> None:
    async with pair(tmp_path) as (first, second):
        first.web.files[FILE] = CONTENT
        first.web.hold()
        session_id = await first.start(**asks())
        await coming(first)

        await first.crash()
        await second.advance(60)
        for driver in await second.own_drivers():
            second.launcher.reconnect(driver.id)
        await second.settle()

        await coming(second, times=2)
        await released(second, session_id, "IDLE")
        assert await names(second) == ["first"]


async def test_a_server_that_slept_through_the_loss_of_its_session_makes_no_notebook(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (first, second):
        first.web.files[FILE] = CONTENT
        first.web.hold()
        session_id = await first.start(**asks())
        await coming(first)

        await first.freeze()
        for _ in range(LEASE_S + 1):
            await second.advance(1)
        assert (await second.session(session_id)).server == second.server
        first.web.release()
        await second.settle()
        assert await second.state(session_id) == "IDLE"
        await first.thaw()

        assert await names(second) == ["first"]


async def test_a_lost_database_does_not_lose_the_file(tmp_path: Path) -> None:
    """The COMMIT that binds it is not answered: whether it was made is looked up."""
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())
        await coming(w)

        w.gate.unanswered = True
        w.web.release()
        await w.settle()
        w.gate.unanswered = False
        await w.advance(5)

        assert await w.state(session_id) == "IDLE"
        assert await names(w) == ["first"]


async def test_a_database_that_refuses_is_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.files[FILE] = CONTENT
        w.web.hold()
        session_id = await w.start(**asks())
        await coming(w)

        w.gate.loses_write = True
        w.web.release()
        await w.settle()
        assert await w.state(session_id) == "CREATED"
        await w.advance(5)

        assert await w.state(session_id) == "IDLE"
        assert w.web.asked == [FILE, FILE]
        assert await names(w) == ["first"]


async def test_a_row_that_another_version_wrote_is_held_to_the_rules(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.web.hold()
        session_id = await w.start(**asks())
        await w.crash()
        elsewhere = json.dumps(asks("https://files.example.com/page"))
        await w.store.write(
            lambda tx: tx.execute(tables.sessions.update().values(request=elsewhere))
        )

        await w.restart()

        session = await w.session(session_id)
        assert session.state == "FAILED"
        assert session.reason is not None
        assert "NotebookFileURI must name a notebook: its path ends in .ipynb." in session.reason
        assert w.web.asked == [FILE]

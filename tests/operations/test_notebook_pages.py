"""How the page of a session loads and saves its notebook, on each engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.builders import AT, LATER, make_context, make_session
from tests.databases import ENGINES, new_place

from sparkowl.clock import Manual
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import Version, empty
from sparkowl.domain.session import Event, Session, State
from sparkowl.domain.workgroup import built_in
from sparkowl.operations import OPERATIONS, Context
from sparkowl.operations.notebooks import load_for_session, save_for_session
from sparkowl.store import Store, notebooks, sessions, workgroups
from sparkowl.store.engine import Place

WITH_PAGE = {"NotebookVersion": "Athena notebook version 1"}


def content(text: str) -> str:
    cell: dict[str, Any] = {"cell_type": "raw", "id": "c", "metadata": {}, "source": text}
    return json.dumps(json.loads(empty()) | {"cells": [cell]})


@dataclass(frozen=True)
class World:
    """A store with the workgroups of a new server, and a clock to turn."""

    context: Context
    clock: Manual

    @property
    def store(self) -> Store:
        return self.context.store

    async def session(self, **changes: Any) -> Session:
        """One with a page, unless it is changed."""
        made = make_session(**({"request": WITH_PAGE, "principal": "ann"} | changes))
        await self.store.write(lambda tx: sessions.insert_session(tx, made))
        return made

    async def load(self, session: Session) -> dict[str, Any]:
        return await load_for_session(self.context, session.id)

    async def save(self, session: Session, text: str | bytes) -> dict[str, Any]:
        return await save_for_session(self.context, session.id, text)

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await OPERATIONS[operation](self.context, request)

    async def notebook_of(self, session: Session) -> str:
        found = await self.store.read(lambda tx: sessions.get(tx, session.id))
        assert found.notebook_id is not None
        return found.notebook_id

    async def history(self, notebook_id: str) -> list[Version]:
        return list(await self.store.read(lambda tx: notebooks.history(tx, notebook_id)))

    async def refused(self, session: Session, text: str | bytes) -> str:
        with pytest.raises(InvalidRequest) as raised:
            await self.save(session, text)
        return str(raised.value)


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return new_place(request.param, tmp_path)


@asynccontextmanager
async def world(place: Place, **changes: Any) -> AsyncIterator[World]:
    clock = Manual(AT)
    store = Store.open(place)
    try:
        for group in built_in(AT):
            await store.write(partial(workgroups.insert_work_group, work_group=group))
        yield World(make_context(store, clock=clock, **changes), clock)
    finally:
        store.close()


async def test_a_session_that_was_asked_for_no_notebook_shows_an_empty_one(place: Place) -> None:
    async with world(place) as w:
        session = await w.session()

        assert await w.load(session) == {
            "name": f"notebook-{session.id}",
            "payload": empty(),
            "modified_at": session.created_at,
            "version": 0,
        }
        listed = await w.call("ListNotebookMetadata", WorkGroup="spark")
        assert listed["NotebookMetadataList"] == []


async def test_the_first_save_makes_the_notebook_and_later_ones_its_versions(place: Place) -> None:
    async with world(place) as w:
        session = await w.session()
        w.clock.advance(60)

        first = await w.save(session, content("1").encode())
        w.clock.advance(1)
        second = await w.save(session, content("2"))

        later = LATER + timedelta(seconds=1)
        assert first == {"modified_at": LATER, "version": 1}
        assert second == {"modified_at": later, "version": 2}
        assert await w.load(session) == {
            "name": f"notebook-{session.id}",
            "payload": content("2"),
            **second,
        }
        notebook_id = await w.notebook_of(session)
        [listed] = (await w.call("ListNotebookSessions", NotebookId=notebook_id))[
            "NotebookSessionsList"
        ]
        assert listed["SessionId"] == session.id
        assert await w.history(notebook_id) == [
            Version(number=1, payload="", saved_at=LATER, session_id=session.id, principal="ann"),
            Version(number=2, payload="", saved_at=later, session_id=session.id, principal="ann"),
        ]


async def test_the_same_content_again_is_no_version(place: Place) -> None:
    async with world(place) as w:
        session = await w.session()
        await w.save(session, content("1"))
        w.clock.advance(60)

        assert await w.save(session, content("1")) == {"modified_at": LATER, "version": 1}
        assert len(await w.history(await w.notebook_of(session))) == 1


async def test_only_so_many_versions_are_kept_and_the_last_is_always_there(place: Place) -> None:
    async with world(place) as w:
        terms = replace(w.context.notebooks, versions=2)
        w = replace(w, context=replace(w.context, notebooks=terms))
        session = await w.session()
        for number in range(1, 6):
            assert (await w.save(session, content(str(number))))["version"] == number

        notebook_id = await w.notebook_of(session)
        assert [version.number for version in await w.history(notebook_id)] == [4, 5]
        old = await w.store.read(lambda tx: notebooks.version(tx, notebook_id, 4))
        assert old is not None
        assert old.payload == content("4")
        assert (await w.load(session))["payload"] == content("5")


async def test_a_name_that_is_taken_is_counted_on(place: Place) -> None:
    async with world(place) as w:
        session = await w.session()
        await w.call("CreateNotebook", WorkGroup="spark", Name=f"notebook-{session.id}")

        await w.save(session, empty())

        assert (await w.load(session))["name"] == f"notebook-{session.id} (2)"


async def test_a_session_that_ends_still_saves_and_one_that_has_ended_does_not(
    place: Place,
) -> None:
    async with world(place) as w:
        session = await w.session()
        await w.store.write(
            lambda tx: sessions.change(tx, session.id, Event.TERMINATE_ASKED, at=AT)
        )
        assert (await w.save(session, content("last")))["version"] == 1

        ended = await w.store.write(
            lambda tx: sessions.change(tx, session.id, Event.DRIVER_GONE, at=LATER)
        )

        assert ended.state is State.TERMINATED
        assert "has ended: it saves nothing any more" in await w.refused(session, empty())
        assert (await w.load(session))["payload"] == content("last")


async def test_a_session_without_a_page_has_no_notebook(place: Place) -> None:
    async with world(place) as w:
        session = await w.session(request={})

        says = f"Session {session.id} was started without NotebookVersion."
        assert await w.refused(session, empty()) == says
        with pytest.raises(InvalidRequest, match=says):
            await w.load(session)
        gone = make_session()
        assert await w.refused(gone, empty()) == f"Session {gone.id} is not found."


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", "{}"])
async def test_what_is_no_notebook_is_not_saved(place: Place, payload: str | bytes) -> None:
    async with world(place) as w:
        session = await w.session()

        assert (await w.refused(session, payload)).startswith("The notebook is not a ")
        assert (await w.load(session))["version"] == 0


async def test_a_workgroup_that_was_made_again_gets_nothing_of_its_namesake(place: Place) -> None:
    async with world(place) as w:
        unsaved, saved = await w.session(), await w.session()
        await w.save(saved, content("1"))
        w.clock.advance(60)
        group = await w.store.read(lambda tx: workgroups.get(tx, "spark"))
        await w.call("DeleteWorkGroup", WorkGroup="spark", RecursiveDeleteOption=True)
        again = replace(group, created_at=LATER)
        await w.store.write(lambda tx: workgroups.insert_work_group(tx, again))

        # Both sessions are ending; nobody else's workgroup gets what they save.
        assert "was deleted" in await w.refused(unsaved, empty())
        assert "is not found" in await w.refused(saved, empty())
        with pytest.raises(InvalidRequest, match="is not found"):
            await w.load(saved)
        listed = await w.call("ListNotebookMetadata", WorkGroup="spark")
        assert listed["NotebookMetadataList"] == []


async def test_of_saves_that_race_none_is_lost(place: Place) -> None:
    async with world(place) as w:
        other = Store.open(place)
        session = await w.session()
        contexts = [w.context, replace(w.context, store=other)]

        saved = await asyncio.gather(
            *(
                save_for_session(contexts[number % 2], session.id, content(str(number)))
                for number in range(10)
            )
        )
        other.close()

        assert sorted(each["version"] for each in saved) == list(range(1, 11))
        notebook_id = await w.notebook_of(session)
        kept = [
            await w.store.read(partial(notebooks.version, notebook_id=notebook_id, number=number))
            for number in range(1, 11)
        ]
        texts = {version.payload for version in kept if version is not None}
        assert texts == {content(str(number)) for number in range(10)}
        names = await w.store.read(lambda tx: notebooks.names(tx, "spark"))
        assert names == [f"notebook-{session.id}"]


async def test_of_names_that_race_one_wins(place: Place) -> None:
    async with world(place) as w:
        other = Store.open(place)
        contexts = [w.context, replace(w.context, store=other)]
        request = {"WorkGroup": "spark", "Name": "n"}

        found = await asyncio.gather(
            *(OPERATIONS["CreateNotebook"](contexts[n % 2], request) for n in range(6)),
            return_exceptions=True,
        )
        other.close()

        assert len([answer for answer in found if isinstance(answer, dict)]) == 1
        assert {str(each) for each in found if isinstance(each, Exception)} == {
            "WorkGroup spark already has a notebook named n."
        }

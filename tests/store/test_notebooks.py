"""Notebooks and their versions come back as they were written, on each engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import AT, LATER, make_session

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import NotebookId, new_notebook_id, new_session_id
from sparkowl.domain.notebook import Notebook, Version
from sparkowl.domain.session import Session, State
from sparkowl.store import Store, notebooks, sessions

#: What databases like to trip over.
TEXT = "'; DROP TABLE notebooks; -- ü\U0001f989 \x00\x01a\x01b % _ \\ \r\n"


def make_notebook(**changes: Any) -> Notebook:
    notebook = Notebook(
        id=new_notebook_id(), work_group="spark", name="n", created_at=AT, modified_at=LATER
    )
    return replace(notebook, **changes)


def make_version(**changes: Any) -> Version:
    return replace(Version(number=1, payload="{}", saved_at=AT), **changes)


async def add(store: Store, notebook: Notebook, first: Version | None = None) -> Notebook:
    version = first or make_version(number=notebook.version)
    await store.write(lambda tx: notebooks.insert_notebook(tx, notebook, version))
    return notebook


async def test_a_notebook_comes_back_as_it_was_written(store: Store) -> None:
    version = make_version(payload=TEXT, session_id=new_session_id(), principal="ann")
    notebook = await add(store, make_notebook(name="ü\U0001f989 ' %_"), version)
    plain = await add(store, make_notebook(name="plain"))

    assert await store.read(lambda tx: notebooks.get(tx, notebook.id)) == notebook
    assert await store.read(lambda tx: notebooks.find(tx, notebook.id)) == notebook
    by_name = await store.read(lambda tx: notebooks.by_name(tx, "spark", notebook.name))
    assert by_name == notebook
    assert await store.read(lambda tx: notebooks.by_name(tx, "other", notebook.name)) is None
    found = await store.read(lambda tx: notebooks.with_payload(tx, notebook.id))
    assert found == (notebook, TEXT)
    assert await store.read(lambda tx: notebooks.version(tx, notebook.id, 1)) == version
    [old] = await store.read(lambda tx: notebooks.history(tx, notebook.id))
    assert old == replace(version, payload="")
    assert await store.read(lambda tx: notebooks.version(tx, plain.id, 1)) == make_version()
    assert await store.read(lambda tx: notebooks.work_group_of(tx, plain.id)) == "spark"


async def test_a_notebook_that_is_not_there(store: Store) -> None:
    gone = str(new_notebook_id())

    assert await store.read(lambda tx: notebooks.find(tx, gone)) is None
    assert await store.read(lambda tx: notebooks.work_group_of(tx, gone)) is None
    assert await store.read(lambda tx: notebooks.history(tx, gone)) == []
    for read in (notebooks.get, notebooks.with_payload):
        with pytest.raises(InvalidRequest, match=f"^Notebook {gone} is not found.$"):
            await store.read(lambda tx, read=read: read(tx, gone))  # type: ignore[misc]


async def test_what_is_read_is_the_last_version_and_the_oldest_can_be_dropped(
    store: Store,
) -> None:
    notebook = await add(store, make_notebook())
    for number in (2, 3):
        version = make_version(number=number, payload=str(number))
        saved = replace(notebook, version=number, name="new", modified_at=AT)
        await store.write(lambda tx, v=version: notebooks.insert_version(tx, notebook.id, v))  # type: ignore[misc]
        await store.write(lambda tx, s=saved: notebooks.replace(tx, s))  # type: ignore[misc]

    assert await store.read(lambda tx: notebooks.with_payload(tx, notebook.id)) == (saved, "3")
    for up_to, left in ((0, [1, 2, 3]), (2, [3])):
        await store.write(lambda tx, n=up_to: notebooks.drop_versions(tx, notebook.id, n))  # type: ignore[misc]
        kept = await store.read(lambda tx: notebooks.history(tx, notebook.id))
        assert [version.number for version in kept] == left


async def test_a_notebook_goes_with_its_versions_and_a_workgroup_with_its_notebooks(
    store: Store,
) -> None:
    one, two, three = [await add(store, make_notebook(name=name)) for name in "abc"]
    other = await add(store, make_notebook(work_group="other", name="a"))

    await store.write(lambda tx: notebooks.delete_notebook(tx, one.id))
    assert sorted(await store.read(lambda tx: notebooks.names(tx, "spark"))) == ["b", "c"]
    assert await store.read(lambda tx: notebooks.count(tx, "spark")) == 2
    await store.write(lambda tx: notebooks.delete_all(tx, "spark"))

    assert await store.read(lambda tx: notebooks.count(tx, "spark")) == 0
    for gone in (one, two, three):
        assert await store.read(lambda tx, g=gone: notebooks.version(tx, g.id, 1)) is None  # type: ignore[misc]
    assert await store.read(lambda tx: notebooks.with_payload(tx, other.id)) == (other, "{}")


async def test_the_sessions_of_a_notebook_are_those_in_the_states_asked_for(store: Store) -> None:
    notebook_id = NotebookId("n")

    def session(minutes: int, **changes: Any) -> Session:
        created = AT + timedelta(minutes=minutes)
        return make_session(**{"notebook_id": notebook_id, "created_at": created} | changes)

    old, new = session(0), session(1)
    more = [
        session(2, state=State.TERMINATING),
        session(3, state=State.TERMINATED, ended_at=LATER),
        session(4, notebook_id=None),
        session(5, notebook_id=NotebookId("other")),
    ]
    for each in (old, new, *more):
        await store.write(lambda tx, s=each: sessions.insert_session(tx, s))  # type: ignore[misc]

    found = await store.read(
        lambda tx: sessions.list_of_notebook(
            tx, notebook_id, {State.IDLE, State.BUSY}, after=None, limit=9
        )
    )
    assert found == [new, old]

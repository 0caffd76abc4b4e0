"""The links to the agents, when two connections of one driver come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builders import make_driver

from sparkowl.clock import Manual
from sparkowl.domain.ids import ServerId
from sparkowl.store import Store, drivers
from sparkowl.supervisor.links import Links


class Channel:
    """A connection that closes only when it may."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.closed = asyncio.Event()

    async def send(self, text: str) -> None:
        pass

    async def receive(self) -> str | None:
        await self.closed.wait()
        return None

    async def close(self) -> None:
        await self.may_close.wait()
        self.closed.set()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_of_three_connections_the_newest_stays_however_long_the_oldest_takes_to_close(
    store: Store,
) -> None:
    driver = make_driver(session_id=None, server=ServerId("server"))
    await store.write(lambda tx: drivers.insert_driver(tx, driver))
    links = Links(store, Manual(), b"key", ServerId("server"))

    async def take(*_: object) -> bool:
        return True

    async def changed(*_: object) -> None:
        pass

    links.listen(take, changed)
    first, second, third = channels = Channel(), Channel(), Channel()
    first.may_close.clear()
    serving = []
    for channel in channels:
        serve = links.serve(driver.id, links.token(driver.id), channel)
        serving.append(asyncio.create_task(serve))
        await settle()

    first.may_close.set()
    await settle()

    assert (first.closed.is_set(), second.closed.is_set(), third.closed.is_set()) == (
        True,
        True,
        False,
    )
    assert links.linked(driver.id)
    third.closed.set()
    await asyncio.gather(*serving)
    assert not links.linked(driver.id)

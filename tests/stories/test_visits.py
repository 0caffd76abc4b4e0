"""How long a link opens a notebook, and how long a browser stays, with the clock turned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from tests.http.upstream import listening
from tests.stories.world import World, world

from sparkowl.access.audit import Audit
from sparkowl.access.standing import Standing
from sparkowl.http.admission import Admission
from sparkowl.http.notebooks import NotebooksDoor
from sparkowl.http.origins import Origins
from sparkowl.http.upstream import Upstreams

URL: Final = "http://127.0.0.1:8765"
HOUR: Final = 3600.0


@dataclass
class Visitor:
    world: World
    session_id: str
    door: NotebooksDoor
    client: httpx.AsyncClient

    async def link(self) -> str:
        made = await self.world.call("CreatePresignedNotebookUrl", SessionId=self.session_id)
        return str(made["NotebookUrl"])

    async def status(self, url: str) -> int:
        return (await self.client.get(url)).status_code

    async def connect(self) -> asyncio.Task[None]:
        """What watches over an open WebSocket, which it ends with."""
        cookie = {"cookie": f"sparkowl-visit={self.client.cookies['sparkowl-visit']}"}
        visit = await self.door._admission.visitor(self.session_id, cookie)
        return asyncio.create_task(self.door._while_open(visit.given))

    async def page(self) -> int:
        return await self.status(f"/notebooks/{self.session_id}/notebooks/x.ipynb")


@asynccontextmanager
async def visiting(
    folder: Path, *, idle_minutes: int = 480, open_page_is_activity: bool = False
) -> AsyncIterator[Visitor]:
    jupyter = folder / "jupyter"
    jupyter.mkdir()
    with listening(jupyter):
        async with world(folder) as made:
            made.launcher.knobs.jupyter = jupyter
            session_id = await made.start(
                NotebookVersion="Athena notebook version 1",
                SessionIdleTimeoutInMinutes=idle_minutes,
            )
            context = made.context
            standing = Standing(context.store, context.clock)
            door = NotebooksDoor(
                context,
                Admission(context, standing, timedelta(hours=2)),
                Origins(None, behind_proxy=False),
                Upstreams(made.launcher, made.links),
                Audit(None),
                open_page_is_activity=open_page_is_activity,
            )
            transport = httpx.ASGITransport(app=door)
            # The cookie's Max-Age is of the machine's clock; here the door decides alone.
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                yield Visitor(made, session_id, door, client)
            await made.terminate(session_id)


async def test_a_link_works_for_ten_minutes(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visitor:
        link = await visitor.link()

        await visitor.world.advance(599)
        assert await visitor.status(link) == 303
        await visitor.world.advance(1)
        assert await visitor.status(link) == 403
        assert await visitor.status(await visitor.link()) == 303


async def test_a_visit_lasts_longer_than_its_link_and_not_for_ever(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visitor:
        assert await visitor.page() == 403
        await visitor.status(await visitor.link())

        assert await visitor.page() == 200
        await visitor.world.advance(2 * HOUR - 1)
        assert await visitor.page() == 200
        await visitor.world.advance(1)
        assert await visitor.page() == 403


async def test_nobody_stays_connected_for_longer_than_a_visit(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visitor:
        await visitor.status(await visitor.link())
        connected = await visitor.connect()

        await visitor.world.advance(2 * HOUR - 5)
        await asyncio.sleep(0)
        assert not connected.done()
        await visitor.world.advance(10)
        await asyncio.wait_for(connected, 20)


@pytest.mark.parametrize("idle_minutes", [1, 2])
async def test_an_open_page_is_activity_where_the_operator_wants_it(
    tmp_path: Path, idle_minutes: int
) -> None:
    async with visiting(tmp_path, idle_minutes=idle_minutes, open_page_is_activity=True) as visitor:
        world, session_id = visitor.world, visitor.session_id
        await visitor.status(await visitor.link())
        # Also when it is opened not long before the session would stop.
        await world.advance(idle_minutes * 60 - 30)
        connected = await visitor.connect()

        for _ in range(200):
            await world.advance(2)
        assert await world.state(session_id) == "IDLE"

        connected.cancel()
        await asyncio.gather(connected, return_exceptions=True)
        await world.advance(idle_minutes * 60)
        assert await world.state(session_id) == "TERMINATED"


async def test_an_open_page_alone_is_no_activity(tmp_path: Path) -> None:
    async with visiting(tmp_path, idle_minutes=2) as visitor:
        await visitor.status(await visitor.link())
        connected = await visitor.connect()

        for _ in range(24):
            await visitor.world.advance(5)
        assert await visitor.world.state(visitor.session_id) == "TERMINATED"
        await visitor.world.advance(5)
        await asyncio.wait_for(connected, 20)


async def test_so_many_wait_for_jupyter_to_listen_and_no_more(tmp_path: Path) -> None:
    """Each of them looks into the database again and again."""
    async with visiting(tmp_path) as visitor:
        await visitor.status(await visitor.link())
        knobs = visitor.world.launcher.knobs
        there, knobs.jupyter = knobs.jupyter, tmp_path
        waiting = [asyncio.create_task(visitor.page()) for _ in range(64)]
        async with asyncio.timeout(20):
            # Of what comes at the same moment, somebody is the last.
            done, late = await asyncio.wait(
                [*waiting, asyncio.create_task(visitor.page())], return_when="FIRST_COMPLETED"
            )
        assert [one.result() for one in done] == [503]

        knobs.jupyter = there
        answers = asyncio.gather(*late)
        while not answers.done():
            await visitor.world.advance(0.2)
        assert await answers == [200] * 64

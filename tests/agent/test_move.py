"""A driver whose server was replaced while it was connected, and one that was launched twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from sparkowl.agent.folder import Folder
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.link import Link
from sparkowl.agent.messages import Run, Welcome, encode
from sparkowl.agent.outbox import Outbox

RUN = Run(calculation_id="c", code="1", output_dir="/nowhere", buckets={})


class Dialled:
    """One end of the servers: whom the agent dialled, and how."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: asyncio.Queue[ServerConnection] = asyncio.Queue()
        #: Accepts, and says nothing any more.
        self.frozen = False

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.put_nowait(connection)
        if not self.frozen:
            await connection.send(encode(Welcome()))
        await connection.wait_closed()


@asynccontextmanager
async def listening() -> AsyncIterator[Dialled]:
    dialled = Dialled()
    async with serve(dialled.serve, "127.0.0.1", 0, close_timeout=0.1) as server:
        port = server.sockets[0].getsockname()[1]
        dialled.url = f"ws://127.0.0.1:{port}"
        yield dialled


@asynccontextmanager
async def linked(tmp_path: Path, first: Dialled) -> AsyncIterator[tuple[Path, asyncio.Event]]:
    """A link; the file that says where to dial, and whether a command was heard."""
    url_file, heard = tmp_path / "server-url", asyncio.Event()
    url_file.write_text(first.url)
    (tmp_path / "outbox").mkdir()
    link = Link(
        driver_id="d",
        token="t",
        url_file=url_file,
        outbox=Outbox(tmp_path / "outbox", Leftovers()),
        on_command=lambda command: heard.set() if isinstance(command, Run) else None,
        gives_up_at=lambda heard_at: heard_at + 60.0,
    )
    running = asyncio.create_task(link.run(), name="link")
    try:
        async with asyncio.timeout(20):
            yield url_file, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_connected_driver_dials_the_server_that_took_over(tmp_path: Path) -> None:
    async with listening() as first, listening() as second, linked(tmp_path, first) as link:
        url_file, heard = link
        old = await first.connections.get()

        url_file.write_text(second.url)

        new = await second.connections.get()
        await old.wait_closed()
        await new.send(encode(RUN))
        await heard.wait()


async def test_a_driver_whose_server_does_not_answer_is_not_held_by_it(tmp_path: Path) -> None:
    async with listening() as first, listening() as second:
        first.frozen = True
        async with linked(tmp_path, first) as (url_file, heard):
            await first.connections.get()

            url_file.write_text(second.url)

            new = await second.connections.get()
            await new.send(encode(RUN))
            await heard.wait()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_another_program_on_the_port_does_not_end_a_driver(
    tmp_path: Path, status: int
) -> None:
    dialled = asyncio.Event()

    def refuse(connection: ServerConnection, request: Request) -> Response:
        dialled.set()
        return connection.respond(HTTPStatus(status), "who are you?\n")

    async with serve(nobody, "127.0.0.1", 0, process_request=refuse) as stranger:
        first = Dialled()
        first.url = f"ws://127.0.0.1:{stranger.sockets[0].getsockname()[1]}"
        async with linked(tmp_path, first) as (url_file, heard), listening() as second:
            await dialled.wait()

            url_file.write_text(second.url)

            new = await second.connections.get()
            await new.send(encode(RUN))
            await heard.wait()


async def nobody(connection: ServerConnection) -> None:
    raise AssertionError("was let in")


def test_a_driver_is_launched_once_whoever_launches_it(tmp_path: Path) -> None:
    assert Folder(tmp_path).hold()
    assert not Folder(tmp_path).hold()

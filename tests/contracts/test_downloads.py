"""The contract of what fetches files, kept by the web and by the make-believe one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.webs import HOST, MakeBelieveWeb, sends, site

from sparkowl.objects.download import Download, DownloadError

FILE = f"https://{HOST}/a.ipynb"
SLOW = f"https://{HOST}/slow.ipynb"


#: What fetches, and whether it is waiting for what is slow.
Made = tuple[Download, Callable[[], bool]]


@asynccontextmanager
async def make_believe(folder: Path) -> AsyncIterator[Made]:
    """Held while it is asked for what is slow."""

    class _Held(MakeBelieveWeb):
        async def fetch(self, url: str) -> bytes:
            if url == SLOW:
                self.hold()
            return await super().fetch(url)

    web = _Held()
    web.files[FILE] = b"{}"
    yield web, lambda: web.waiting > 0


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Made]:
    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    answers = {
        "/a.ipynb": sends(b"{}"),
        "/b.ipynb": sends(b"", status="404 Not Found"),
        "/slow.ipynb": slow,
    }
    async with site(folder, answers) as there:
        yield there.web(), lambda: "/slow" in "".join(there.requests)


Make = Callable[[Path], AbstractAsyncContextManager[Made]]
each = pytest.mark.parametrize("make", [make_believe, real])


@each
async def test_a_file_is_brought_as_often_as_it_is_asked_for(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path) as (web, _):
        assert await web.fetch(FILE) == b"{}"
        assert await web.fetch(FILE) == b"{}"


@each
async def test_a_file_that_is_not_there(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path) as (web, _):
        with pytest.raises(DownloadError) as error:
            await web.fetch(f"https://{HOST}/b.ipynb")
    assert str(error.value) == f"{HOST} answered with status 404."


@each
async def test_a_fetch_can_be_given_up(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path) as (web, waits):
        fetching = asyncio.create_task(web.fetch(SLOW))
        while not waits():
            await asyncio.sleep(0.001)
        fetching.cancel()

        with pytest.raises(asyncio.CancelledError):
            await fetching

"""Files that cannot be deleted for a while, and what was acknowledged then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Started
from sparkowl.agent.outbox import Outbox


@contextmanager
def out_of_reach(folder: Path) -> Iterator[None]:
    """For root, too, whom modes do not stop."""
    aside = folder.with_suffix(".aside")
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


async def until_gone(path: Path) -> None:
    async with asyncio.timeout(10):
        while path.exists():
            await asyncio.sleep(0.005)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outbox"
    made.mkdir()
    return made


async def test_what_cannot_be_deleted_is_deleted_once_it_can_be(folder: Path) -> None:
    leftovers = Leftovers(again_after_s=0.01)
    file, spool = folder / "file", folder / "spool"
    file.touch()
    spool.mkdir()
    (spool / "stdout").touch()
    with out_of_reach(folder):
        leftovers.remove(file)
        leftovers.remove(spool)
    await until_gone(file)
    await until_gone(spool)


def test_what_is_not_there_is_no_matter(folder: Path) -> None:
    Leftovers().remove(folder / "nothing")


async def test_an_acknowledged_fact_is_done_with_though_its_file_cannot_be_deleted(
    folder: Path,
) -> None:
    outbox = Outbox(folder, Leftovers(again_after_s=0.01))
    outbox.put(Started, calculation_id="c", at=1.0)
    with out_of_reach(folder):
        outbox.acknowledge(1)
        assert outbox.after(0) == []
        assert await outbox.emptied(within_s=1)
    await until_gone(folder / "00000001.json")

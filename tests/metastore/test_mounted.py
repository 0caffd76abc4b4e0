"""Buckets that are made while the metastore runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from sparkowl.metastore.mounted import Mounted


class Metastore:
    """Notes what it is to mount; takes its time, or fails."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.ready = asyncio.Event()
        self.fails = False

    async def mount(self, new: Mapping[str, str]) -> None:
        self.told.append(sorted(new))
        await self.ready.wait()
        if self.fails:
            raise OSError("it fails")


async def test_a_second_question_about_a_new_bucket_waits_until_it_is_mounted(
    tmp_path: Path,
) -> None:
    metastore, mounted = Metastore(), Mounted(str(tmp_path))
    assert mounted.begin() == {}
    (tmp_path / "new").mkdir()

    questions = [asyncio.create_task(mounted.look(metastore.mount)) for _ in range(2)]
    while not metastore.told:
        await asyncio.sleep(0)
    done, _ = await asyncio.wait(questions, timeout=0)
    assert not done
    metastore.ready.set()
    await asyncio.gather(*questions)

    assert metastore.told == [["new"]]


async def test_what_could_not_be_mounted_is_tried_with_the_next_bucket(tmp_path: Path) -> None:
    metastore, mounted = Metastore(), Mounted(str(tmp_path))
    metastore.ready.set()
    mounted.begin()
    (tmp_path / "one").mkdir()
    metastore.fails = True
    with pytest.raises(OSError, match="it fails"):
        await mounted.look(metastore.mount)
    await mounted.look(metastore.mount)
    metastore.fails = False

    (tmp_path / "two").mkdir()
    await mounted.look(metastore.mount)
    await mounted.look(metastore.mount)

    assert metastore.told == [["one"], ["one", "two"]]


async def test_without_folders_there_is_nothing_to_mount() -> None:
    metastore, mounted = Metastore(), Mounted(None)

    assert mounted.begin() == {}
    await mounted.look(metastore.mount)

    assert metastore.told == []

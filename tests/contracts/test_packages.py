"""The contract of what gives workgroups their packages: pip, and the make-believe one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.shelves import MakeBelievePackages
from tests.wheels import wheel

from sparkowl.launchers.packages import Packages, PipPackages
from sparkowl.launchers.requirements import PackagesError

ENGINE = "PySpark engine version 3"


@asynccontextmanager
async def make_believe(folder: Path) -> AsyncIterator[Packages]:
    class _Held(MakeBelievePackages):
        async def provide(self, work_group: str, engine_version: str) -> Path:
            if work_group == "slow":
                self.hold()
            return await super().provide(work_group, engine_version)

    made = _Held()
    made.outcomes = {"good": folder, "bad": "no such package", "slow": folder}
    yield made
    await made.close()


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Packages]:
    wheel(folder / "wheels", "owl_one")
    (folder / "endless").mkdir()
    os.mkfifo(folder / "endless" / "owl_one-2.0-py3-none-any.whl")
    texts = {
        "good": "--no-index\n-f wheels\nowl-one\n",
        "bad": "--no-index\n-f wheels\nowl-two\n",
        "slow": "--no-index\n-f endless\nowl-one\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    files = {name: folder / f"{name}.txt" for name in texts}
    made = PipPackages(folder / "packages", files, {}, limit_s=100)
    yield made
    await made.close()


Make = Callable[[Path], AbstractAsyncContextManager[Packages]]
each = pytest.mark.parametrize("make", [make_believe, real])


@each
async def test_a_workgroup_has_one_folder(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path) as packages:
        assert packages.work_groups == {"good", "bad", "slow"}
        folder = await packages.provide("good", ENGINE)
        assert folder.is_dir()
        assert await packages.provide("good", ENGINE) == folder


@each
async def test_what_cannot_be_had_is_an_error(make: Make, tmp_path: Path) -> None:
    async with make(tmp_path) as packages:
        with pytest.raises(PackagesError):
            await packages.provide("bad", ENGINE)


@each
async def test_who_does_not_wait_any_more_takes_nothing_from_others(
    make: Make, tmp_path: Path
) -> None:
    async with make(tmp_path) as packages:
        asked = [asyncio.create_task(packages.provide("slow", ENGINE)) for _ in range(2)]
        _, pending = await asyncio.wait(asked, timeout=0.5)
        assert len(pending) == 2

        asked[0].cancel()
        await asyncio.wait(asked, timeout=0.1)

        assert (asked[0].cancelled(), asked[1].done()) == (True, False)
        asked[1].cancel()
        await asyncio.wait(asked)

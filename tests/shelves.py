"""Where workgroups of tests have their packages from."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sparkowl.launchers.packages import Packages
from sparkowl.launchers.requirements import PackagesError


class MakeBelievePackages:
    """A folder for each workgroup that has a file, or an error. While it is held, nothing comes."""

    def __init__(self) -> None:
        #: By workgroup: the folder, or why there is none.
        self.outcomes: dict[str, Path | str] = {}
        #: The workgroups that were asked for, in order.
        self.asked: list[str] = []
        self._flows = asyncio.Event()
        self._flows.set()

    def hold(self) -> None:
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    @property
    def work_groups(self) -> frozenset[str]:
        return frozenset(self.outcomes)

    async def provide(self, work_group: str, engine_version: str) -> Path:
        self.asked.append(work_group)
        await self._flows.wait()
        outcome = self.outcomes[work_group]
        if isinstance(outcome, str):
            raise PackagesError(outcome)
        return outcome

    async def close(self) -> None:
        """Nothing is being built."""


_: type[Packages] = MakeBelievePackages

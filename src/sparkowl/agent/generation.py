"""One generation of a driver: its two processes and the lines to them, from a launch until the
driver ends or is restarted."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparkowl.agent.channel import Channel
from sparkowl.agent.driver import Driver
from sparkowl.agent.folder import Folder, write_plain
from sparkowl.agent.launch import DriverLost, Launched
from sparkowl.agent.messages import Adopt, DriverSpec
from sparkowl.agent.reaper import Reaper
from sparkowl.agent.runner import Engine
from sparkowl.agent.spark import SparkLine, SparkRefused, SparkUnreachable


class Generation:
    def __init__(self, spec: DriverSpec, launched: Launched, reaper: Reaper) -> None:
        self._spec = spec
        self._folder = Folder(Path(spec.run_dir))
        self._driver = Driver(spec, launched, reaper)
        self._spark = SparkLine(self._folder.gateway)
        self._watching = asyncio.create_task(self._driver.watch_memory(), name="memory")
        #: What calculations run on; None: it is not up yet, or gone.
        self.engine: Engine | None = None

    async def come_up(self) -> dict[str, Any]:
        """The kernel's report that Spark is up, once it is; :class:`DriverLost` when it fails."""
        report = await self._driver.report()
        channel = Channel(self._folder.connection)
        await channel.open()
        self._spark.mounted_at_launch(self._spec.buckets)
        self.engine = Engine(channel, self._driver, self._spark)
        return report

    async def lost(self) -> None:
        raise await self._driver.lost()

    async def adopt(self, adopt: Adopt) -> None:
        """Become the session's. Repeated: no effect."""
        session = {
            "session_id": adopt.session_id,
            "work_group": adopt.work_group,
            "engine_version": adopt.engine_version,
            "started_at": adopt.started_at,
            "packages": adopt.packages,
        }
        if adopt.packages:
            self._folder.link_packages(Path(adopt.packages))
        write_plain(self._folder.session, json.dumps(session), self._spec.run_as)
        try:
            await self._spark.mount(adopt.buckets)
            await self._spark.move_warehouse(adopt.warehouse)
            await self._spark.configure(adopt.properties)
        except SparkRefused as error:
            raise DriverLost(f"The session's properties were refused: {error}", "USER") from error
        except SparkUnreachable as error:
            raise DriverLost(f"Spark was lost while the session began: {error}") from error

    def interrupt(self) -> None:
        """Stop what the kernel does for the page beside calculations, a widget's callback say."""
        if self.engine is not None:
            self._driver.interrupt()

    def trim_logs(self) -> None:
        self._driver.trim_logs()

    async def stop(self) -> None:
        """End everything of the driver's but this process."""
        await self._end(())

    async def make_way(self, spared: Collection[int]) -> None:
        """End everything but the ``spared``, so that another generation finds nothing of this."""
        await self._end(spared)
        for left in self._folder.kernel.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()

    async def _end(self, spared: Collection[int]) -> None:
        self._watching.cancel()
        if self.engine is not None:
            self.engine.channel.close()
            self.engine = None
        await self._driver.stop(spared)
        self._spark.close()

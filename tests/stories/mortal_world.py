"""A world whose server may die at any await, and is followed by another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.stories.mortal import Crashed, Life, MortalChannel, MortalLauncher, MortalStore
from tests.stories.world import World

from sparkowl.domain.limits import Limits
from sparkowl.domain.role import Roles
from sparkowl.launchers.fake import FakeChannel, Knobs
from sparkowl.store import Store
from sparkowl.supervisor.links import UnknownDriver


class MortalWorld(World):
    """Raises :class:`Crashed` from whatever the server died at; :meth:`follow` starts the next."""

    launcher: MortalLauncher

    def __init__(self, folder: Path, *, pool: int, limits: Limits, starts_at_once: int) -> None:
        self.life = Life()
        #: Stopping a driver takes this long.
        self.slow_stop_s = 0.0
        super().__init__(
            folder,
            pool=pool,
            limits=limits,
            starts_at_once=starts_at_once,
            budgets=(),
            roles=Roles(),
            engine="sqlite",
        )

    def _open(self) -> Store:
        return MortalStore.open_for(self.life, self.database)

    def _make_launcher(self) -> MortalLauncher:
        return MortalLauncher(self._dialled, lambda: self.life.pace(), self._slow_stop)

    async def _slow_stop(self) -> None:
        if self.slow_stop_s:
            await self.clock.wait(asyncio.Event(), self.slow_stop_s)

    async def _dialled(self, driver_id: str, token: str, channel: FakeChannel) -> None:
        life, links = self.life, self.links

        async def serve() -> None:
            with suppress(UnknownDriver):
                await links.serve(driver_id, token, MortalChannel(channel, life))

        if not life.dead:
            life.start(serve())

    # --- lives ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self.life.run(self.servers.join())
        await self.life.run(self.supervisor.recover())
        self._work = self.life.start(self.supervisor.run())
        await self.settle()

    async def _halt(self) -> None:
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self.life.outcome(self._work)

    async def stop(self, *, keep_sessions: bool = False) -> None:
        self.supervisor.retire()
        await self._halt()
        await self.life.run(self.supervisor.stop(keep_sessions=keep_sessions))
        await self.life.run(self.supervisor.leave())

    async def crash(self) -> None:
        """The server is dead, at once or since it died. What it had handed over still happens."""
        await self.life.bury()
        self.room.living.discard(self.place.pid)
        self.store.close()
        while self.threads.busy:
            await asyncio.sleep(0.001)
        for driver_id in self.launcher.living:
            await self.launcher.cut(driver_id)

    async def restart(self, dies_at: int | None = None) -> None:
        self.life = Life(dies_at)
        self.store = self._open()
        self.assemble()
        await self._run()
        for driver_id in self.launcher.living:
            self.launcher.reconnect(driver_id)
        await self.settle()

    async def follow(self, *dies_at: int) -> None:
        """The next server, after one that is dead; those of ``dies_at`` die as well, so early."""
        for at in (*dies_at, None):
            await self.crash()
            with suppress(Crashed):
                await self.restart(at)
            if not self.life.dead:
                self.life.dies_at = None
                return

    # --- what happens in them ------------------------------------------------------------------

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self.life.run(super().call(operation, **request))

    async def extend(self, session_id: str) -> dict[str, Any]:
        return await self.life.run(super().extend(session_id))

    async def settle(self) -> None:
        """As in any world; it ends early with the server."""
        quiet, before = 0, None
        while quiet < 3 and not self.life.dead:
            await self.store.write(lambda tx: None)
            for _ in range(20):
                await asyncio.sleep(0)
            now = (self.life.steps, self.launcher.alive)
            quiet = quiet + 1 if now == before and not self.threads.busy else 0
            before = now
            if self.threads.busy:
                await asyncio.sleep(0.001)

    async def come_to_rest(self) -> None:
        """Nothing fails any more, and time passes: long enough for all that waits."""
        for name in Knobs.__slots__:
            setattr(self.launcher.knobs, name, getattr(Knobs(), name))
        self.slow_stop_s = 0.0
        await self.settle()
        for _ in range(12):
            await self.advance(60)


@asynccontextmanager
async def mortal_world(
    folder: Path, *, pool: int = 0, limits: Limits | None = None, starts_at_once: int = 2
) -> AsyncIterator[MortalWorld]:
    """A world that has begun. Who is done with it has it come to rest and end."""
    made = MortalWorld(folder, pool=pool, limits=limits or Limits(), starts_at_once=starts_at_once)
    try:
        await made.begin()
        yield made
    finally:
        await made.crash()

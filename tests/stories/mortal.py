"""A server that can be killed at any await, as by ``kill -9``: nothing of it runs on afterwards.

Every coroutine of the server runs inside a :class:`_Mortal`, which counts its suspensions in the
:class:`Life` that it belongs to. At the chosen one that life is over: no coroutine of it is ever
resumed. The files, the database and the make-believe drivers live on.

What a real server awaits, but the fakes answer at once (a read, a launch, a message), is given an
await of its own before and after, so that the server can die on either side of it. A write can thus
die before it was handed over, when it is committed without anybody having been told, and after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping
from typing import Any, TypeVar

from sparkowl.domain.ids import DriverId
from sparkowl.launchers.base import LaunchSpec, Left, Observation, Take
from sparkowl.launchers.fake import Dial, FakeLauncher
from sparkowl.store import Store
from sparkowl.store.engine import Place
from sparkowl.supervisor.links import Channel

T = TypeVar("T")
Pace = Callable[[], Awaitable[None]]
#: More awaits than the ``finally`` blocks of one coroutine have.
MOST_FINALLIES = 100


class Crashed(Exception):
    """The server died before it answered."""


class _Killed(BaseException):
    """What the coroutines of a dead server get from whatever they touch."""


class Life:
    """One server process, from its start to its death at the ``dies_at``-th suspension."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.steps = 0
        self.dies_at = dies_at
        self.dead = False
        self._burying = False
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mortals: dict[asyncio.Task[Any], _Mortal] = {}
        asyncio.get_running_loop().set_task_factory(_adopt)  # type: ignore[arg-type]  # typeshed asks for more than the documented protocol

    def die(self) -> None:
        self.dead = True
        if not self._death.done():
            self._death.set_result(None)

    def suspended(self) -> None:
        self.steps += 1
        if self.dies_at is not None and self.steps >= self.dies_at:
            self.die()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of this server; the tasks that it makes are the server's, too."""
        return asyncio.get_running_loop().create_task(_Mortal(self, work))

    def enter(self, task: asyncio.Task[Any], mortal: _Mortal) -> None:
        self._mortals[task] = mortal
        task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        # A task that ends with its server leaves its coroutine where it was: to be taken apart.
        if not self.dead:
            del self._mortals[task]

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of ``work``. Raises :class:`Crashed` when the server died first."""
        return await self.outcome(self.start(work))

    async def outcome(self, task: asyncio.Task[T]) -> T:
        either: set[asyncio.Future[Any]] = {task, self._death}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self.dead and (not task.done() or task.cancelled()):
            raise Crashed
        return task.result()

    async def pace(self) -> None:
        """An await at which the server may die; nothing for those who are not of the server."""
        if self._burying:
            raise _Killed
        task = asyncio.current_task()
        if task is not None and isinstance(task.get_coro(), _Mortal):
            await asyncio.sleep(0)

    async def bury(self) -> None:
        """Take every coroutine apart. Its ``finally`` blocks find that they can touch nothing."""
        self.die()
        left, self._mortals = self._mortals, {}
        self._burying = True
        for mortal in left.values():
            mortal.take_apart()
        self._burying = False
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Mortal(Coroutine[Any, Any, Any]):
    """A coroutine that is resumed only while its server lives."""

    def __init__(self, life: Life, inner: Coroutine[Any, Any, Any]) -> None:
        self.life = life
        self._inner = inner

    def send(self, value: Any) -> Any:
        return self._resume(lambda: self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        return self._resume(lambda: self._inner.throw(*error))

    def _resume(self, resume: Callable[[], Any]) -> Any:
        if self.life.dead:
            raise asyncio.CancelledError
        awaited = resume()
        self.life.suspended()
        return awaited

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def take_apart(self) -> None:
        for _ in range(MOST_FINALLIES):
            try:
                self._inner.throw(_Killed())
            except BaseException:  # noqa: BLE001  however it ended, it has
                return
        raise AssertionError(f"{self._inner} cannot be ended")


def _adopt(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any
) -> asyncio.Task[Any]:
    """A new task belongs to the server whose task makes it, unless it is a driver's."""
    parent = asyncio.current_task(loop)
    maker = None if parent is None else parent.get_coro()
    if not isinstance(work, _Mortal) and isinstance(maker, _Mortal) and not _is_drivers(work):
        work = _Mortal(maker.life, work)
    task = asyncio.Task(work, loop=loop, **more)
    if isinstance(work, _Mortal):
        work.life.enter(task, work)
    return task


def _is_drivers(work: Any) -> bool:
    return str(work.cr_code.co_filename).endswith("launchers/fake.py")


class MortalStore(Store):
    """The store of one life."""

    life: Life

    @classmethod
    def open_for(cls, life: Life, place: Place) -> MortalStore:
        store = cls.open(place)
        assert isinstance(store, cls)
        store.life = life
        return store

    async def read(self, work: Callable[..., T]) -> T:
        await self.life.pace()
        found = await super().read(work)
        await self.life.pace()
        return found

    async def write(self, work: Callable[..., T]) -> T:
        await self.life.pace()
        result = await super().write(work)
        await self.life.pace()
        return result


class MortalLauncher(FakeLauncher):
    """The fake launcher, as one life after the other sees it. Its drivers outlive them all."""

    def __init__(self, dial: Dial, pace: Pace, slow: Pace) -> None:
        super().__init__(dial)
        self._pace = pace
        self._slow = slow
        #: Drivers that were launched again while they lived.
        self.doubled: list[str] = []

    async def launch(self, spec: LaunchSpec) -> str:
        await self._pace()
        if spec.driver_id in self.living:
            self.doubled.append(spec.driver_id)
        handle = await super().launch(spec)
        await self._pace()
        return handle

    async def find(self, driver_id: DriverId) -> str | None:
        await self._pace()
        return await super().find(driver_id)

    async def observe(self, handle: str) -> Observation:
        await self._pace()
        return await super().observe(handle)

    async def find_all(self, driver_ids: Collection[DriverId]) -> Mapping[DriverId, str]:
        await self._pace()
        return await super().find_all(driver_ids)

    async def left(self, handle: str) -> Left:
        await self._pace()
        return await super().left(handle)

    async def left_outputs(self, handle: str, calculation_id: str) -> Mapping[str, bytes]:
        await self._pace()
        return await super().left_outputs(handle, calculation_id)

    async def stop(self, handle: str, *, grace_s: float, take: Take | None = None) -> None:
        await self._pace()
        await self._slow()
        await super().stop(handle, grace_s=grace_s, take=take)
        await self._pace()


class MortalChannel:
    """The server's end of a link."""

    def __init__(self, channel: Channel, life: Life) -> None:
        self._channel = channel
        self._life = life

    async def send(self, text: str) -> None:
        await self._life.pace()
        await self._channel.send(text)
        await self._life.pace()

    async def receive(self) -> str | None:
        await self._life.pace()
        return await self._channel.receive()

    async def close(self) -> None:
        await self._life.pace()
        await self._channel.close()

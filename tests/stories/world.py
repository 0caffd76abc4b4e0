"""A whole server but for HTTP and Spark, in one process, with the clock turned by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError
from tests.builders import PATIENCE
from tests.databases import new_place
from tests.shelves import MakeBelievePackages
from tests.storages import SwitchedStorage
from tests.webs import MakeBelieveWeb

from sparkowl.agent.messages import Run
from sparkowl.app import objects
from sparkowl.clock import Manual
from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain import locations, workgroup
from sparkowl.domain import session as session_domain
from sparkowl.domain.arns import Account
from sparkowl.domain.budget import Budget
from sparkowl.domain.calculation import OUTPUT_NAMES, Calculation
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import SessionId, new_server_id
from sparkowl.domain.limits import Limits
from sparkowl.domain.policy import ROOT
from sparkowl.domain.role import Roles
from sparkowl.domain.server import Place
from sparkowl.domain.session import Session
from sparkowl.launchers import engines
from sparkowl.launchers.fake import FakeLauncher
from sparkowl.launchers.jars import Jars
from sparkowl.objects.files import Files
from sparkowl.objects.folder_storage import FolderStorage
from sparkowl.operations import OPERATIONS, Context, idle
from sparkowl.operations.context import NotebookTerms
from sparkowl.store import Store, calculations, drivers, servers, sessions, tables, workgroups
from sparkowl.store.signals import Hear
from sparkowl.supervisor.links import Links
from sparkowl.supervisor.means import Means, NoKeys, SessionKeys
from sparkowl.supervisor.pool import PoolSize
from sparkowl.supervisor.servers import Servers
from sparkowl.supervisor.supervisor import Supervisor
from sparkowl.supervisor.unsent import Bounds, Unsent

T = TypeVar("T")
#: How long a real thing (a commit, a file) may take before a story gives up.
PATIENT_S = 20.0
LEASE_S = 10
#: After a member was taken; no longer than the first step that stories go.
POOL_PAUSE_S: Final = 0.5


class _Threads(ThreadPoolExecutor):
    """The event loop's threads, with a count of what they are at."""

    def __init__(self) -> None:
        super().__init__(max_workers=2)
        self._begun = 0
        self._ended = 0
        self._counting = threading.Lock()

    @property
    def busy(self) -> bool:
        return self._begun > self._ended

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._begun += 1
        future = super().submit(work, *args, **kwargs)
        future.add_done_callback(self._end)
        return future

    def _end(self, future: Future[Any]) -> None:
        with self._counting:
            self._ended += 1


class _Interrupted(Connection):
    """A connection whose first statement is followed by something else."""

    def __init__(self, inner: Connection, meanwhile: Callable[[], None]) -> None:
        self._inner = inner
        self._meanwhile: Callable[[], None] | None = meanwhile

    def execute(self, *statement: Any, **how: Any) -> Any:
        found = self._inner.execute(*statement, **how)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


class Gate(Store):
    """A server's way to the store. While it is shut, nothing that the server does has an effect: so
    does a server look that is frozen, or that lost its database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.open_ = asyncio.Event()
        self.open_.set()
        #: What somebody else does between the first statement of the next read and the second.
        self.meanwhile: Callable[[], None] | None = None
        #: What somebody else writes just before the next write.
        self.before: Callable[[Connection], None] | None = None
        #: The connection is lost at the next read.
        self.loses_read = False
        #: The connection is lost before the next write.
        self.loses_write = False
        #: The connection is lost at every COMMIT: it is made, and nobody hears of it.
        self.unanswered = False

    async def read(self, work: Callable[[Connection], T]) -> T:
        await self.open_.wait()
        if self.loses_read:
            self.loses_read = False
            raise OperationalError("SELECT", {}, ConnectionError("the server hung up"))
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is None:
            return await self._store.read(work)
        return await self._store.read(lambda tx: work(_Interrupted(tx, meanwhile)))

    async def write(self, work: Callable[[Connection], T]) -> T:
        await self.open_.wait()
        before, self.before = self.before, None
        if before is not None:
            await self._store.write(before)
        if self.loses_write:
            self.loses_write = False
            raise OperationalError("BEGIN", {}, ConnectionError("the server hung up"))
        written = await self._store.write(work)
        if self.unanswered:
            raise OperationalError("COMMIT", {}, ConnectionError("the server hung up"))
        return written

    def close(self) -> None:
        self._store.close()


class Room:
    """What servers that share a database hear of each other."""

    def __init__(self) -> None:
        self._hearers: list[Hear] = []
        #: Process ids of the servers that live.
        self.living: set[int] = set()
        self._pids = count(1)

    def enter(self) -> Place:
        pid = next(self._pids)
        self.living.add(pid)
        return Place(host="host", boot="boot", pid=pid, started_at=pid, folder="/data")

    def lives(self, place: Place) -> bool:
        return place.pid in self.living

    def listen(self, hear: Hear) -> None:
        self._hearers.append(hear)

    async def say(self, key: str) -> None:
        for hear in self._hearers:
            hear(key)

    def close(self) -> None:
        self._hearers.clear()


#: The engine of a story's store, for those that do not say it.
ENGINE: Final = ContextVar("engine", default="sqlite")


class _Watched(Store):
    """A store with a count of the reads that are under way in its threads."""

    reading = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.reading += 1
        try:
            return await super().read(work)
        finally:
            self.reading -= 1


class World:
    """The server's parts as ``app`` puts them together, and short words for what stories do."""

    def __init__(
        self,
        folder: Path,
        *,
        pool: int,
        limits: Limits,
        starts_at_once: int,
        budgets: Sequence[Budget],
        roles: Roles,
        engine: str,
        beside: World | None = None,
        service: bool = False,
        session_keys: SessionKeys | None = None,
    ) -> None:
        self.alone = beside is None
        if beside is None:
            self.threads = _Threads()
            asyncio.get_running_loop().set_default_executor(self.threads)
            self.clock = Manual()
            self.database = new_place(engine, folder)
            self.store = self._open()
            self.files = Files(folder / "buckets", folder / "staging")
            self.storage = SwitchedStorage(FolderStorage(self.files))
            self.launcher = self._make_launcher()
            self.room = Room()
        else:
            beside.alone = False
            self.threads, self.clock = beside.threads, beside.clock
            self.store, self.files, self.storage = beside.store, beside.files, beside.storage
            self.launcher = FakeLauncher(self._dial, beside.launcher)
            self.room = beside.room
        #: Whether objects are in a service: nothing mounts them, and it may be away.
        self.service = service
        self.session_keys = session_keys or NoKeys()
        self.unsent_folder = folder / "unsent"
        self.pool = pool
        self.limits = limits
        self.sparks = engines.sparks({})
        self.starts_at_once = starts_at_once
        self.budgets = budgets
        self.roles = roles
        #: Nobody fetched any.
        self.jars = Jars(cache_dir=folder / "cache")
        self.web: MakeBelieveWeb = MakeBelieveWeb() if beside is None else beside.web
        #: Each server has its own cache.
        self.packages = MakeBelievePackages()
        self.assemble()

    def _open(self) -> Store:
        return _Watched.open(self.database)

    def _make_launcher(self) -> FakeLauncher:
        return FakeLauncher(self._dial, upload=self._upload)

    async def _upload(self, run: Run, contents: Mapping[str, bytes]) -> str:
        return await objects.upload(self.storage, run, contents)

    def _dial(self, *dialled: Any) -> Any:
        """A driver dials whichever server is there at the moment."""
        return self.links.serve(*dialled)

    def assemble(self) -> None:
        self.gate = Gate(self.store)
        self.server = new_server_id()
        self.links = Links(self.gate, self.clock, b"key", self.server)
        self.place = self.room.enter()
        self.servers = Servers(
            self.gate,
            self.clock,
            self.server,
            url=f"http://{self.server}",
            place=self.place,
            lease=timedelta(seconds=LEASE_S),
            alone=self.alone,
            lives=self.room.lives,
        )
        means = Means(
            store=self.gate,
            server=self.server,
            clock=self.clock,
            launcher=self.launcher,
            links=self.links,
            storage=self.storage,
            files=None if self.service else self.files,
            unsent=self._unsent() if self.service else None,
            session_keys=self.session_keys,
            download=self.web,
            patience=PATIENCE,
            sparks=self.sparks,
            stop_grace_s=5,
            starts_at_once=self.starts_at_once,
            limits=self.limits,
            packages=self.packages,
            jars=self.jars,
            roles=self.roles,
        )
        size = PoolSize(
            members=self.pool, max_age=timedelta(hours=1), pause=timedelta(seconds=POOL_PAUSE_S)
        )
        self.supervisor = Supervisor(means, size, self.servers, self.room, self.budgets)
        self.context = Context(
            store=self.gate,
            clock=self.clock,
            server=self.server,
            account=Account(),
            limits=self.limits,
            sparks=self.sparks,
            output_location="s3://results",
            paging_key=b"key",
            wake=self.supervisor.wake,
            caller=ROOT,
            room=self.launcher.room,
            storage=self.storage,
            notebooks=NotebookTerms(key=b"key", url="http://127.0.0.1:8765"),
            budgets={budget.work_group: budget for budget in self.budgets},
            roles=self.roles,
            with_packages=self.packages.outcomes.keys(),
        )

    def _unsent(self) -> Unsent:
        bounds = Bounds(age=timedelta(days=7), size_bytes=1000)
        return Unsent(self.unsent_folder, self.storage, self.clock, bounds)

    # --- the server's life ---------------------------------------------------------------------

    async def begin(self) -> None:
        """The first start: as on a new account."""
        self.files.create_bucket("results")

        def write(tx: Connection) -> None:
            for group in workgroup.built_in(self.clock.now()):
                workgroups.insert_work_group(tx, group)

        await self.store.write(write)
        await self._run()

    async def join(self) -> None:
        """A further server on an account that is not new."""
        await self._run()

    async def _run(self) -> None:
        await self.servers.join()
        await self.supervisor.recover()
        self._work = asyncio.create_task(self.supervisor.run(), name="supervisor")
        await self.settle()

    async def _halt(self) -> None:
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work

    async def crash(self) -> None:
        """The server dies: no goodbye, every link breaks. Its drivers live on."""
        await self._halt()
        self.room.living.discard(self.place.pid)
        for driver in await self.own_drivers():
            with suppress(KeyError):
                await self.launcher.cut(driver.id)
        await self.settle()

    async def restart(self) -> None:
        """A new server on the same store. The drivers that live dial it."""
        self.assemble()
        await self._run()
        for driver in await self.store.read(drivers.list_live):
            if await self.launcher.find(driver.id) is not None:
                self.launcher.reconnect(driver.id)
        await self.settle()

    async def stop(self, *, keep_sessions: bool = False) -> None:
        """As on SIGTERM."""
        self.supervisor.retire()
        await self._halt()
        await self.supervisor.stop(keep_sessions=keep_sessions)
        await self.supervisor.leave()
        self.room.living.discard(self.place.pid)
        if keep_sessions:
            for driver in await self.own_drivers():
                await self.launcher.cut(driver.id)

    async def own_drivers(self) -> list[Driver]:
        def read(tx: Connection) -> list[Driver]:
            live = drivers.list_live(tx)
            return [driver for driver in live if servers.owner_of(tx, driver) == self.server]

        return await self.store.read(read)

    async def freeze(self) -> None:
        """As by SIGSTOP: its process and its links are there, and nothing happens."""
        self.gate.open_.clear()

    async def thaw(self) -> None:
        self.gate.open_.set()
        await self.settle()

    async def cut(self, driver_id: str) -> None:
        """The link of a driver breaks, and the server has noticed."""
        await self.launcher.cut(driver_id)
        await self.settle()

    # --- time ----------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Let everything run until nothing changes any more, however long that takes.

        What happens, happens in the event loop, in the writer or in a thread: a write of ours comes
        back when all before it have, and the threads and reads are counted.
        """
        quiet, before = 0, None
        while quiet < 3:
            await self.store.write(lambda tx: None)
            for _ in range(20):
                await asyncio.sleep(0)
            now = (await self.store.read(_footprint), self.launcher.alive)
            reading = isinstance(self.store, _Watched) and self.store.reading > 0
            busy = self.threads.busy or reading
            quiet = quiet + 1 if now == before and not busy else 0
            before = now
            if busy:
                await asyncio.sleep(0.001)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    async def until(self, true: Callable[[Connection], bool]) -> None:
        """Wait for real work that takes its time: files are written in threads."""
        async with asyncio.timeout(PATIENT_S):
            while not await self.store.read(true):
                await asyncio.sleep(0.002)

    # --- what a client does --------------------------------------------------------------------

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await OPERATIONS[operation](self.context, request)

    async def start(self, **request: Any) -> str:
        """A session, when everything that follows from it has happened."""
        session_id, _ = await self.start_and_look(**request)
        await self.settle()
        return session_id

    async def start_and_look(self, **request: Any) -> tuple[str, str]:
        """A session, and the state that StartSession answered."""
        defaults = {"WorkGroup": "spark", "EngineConfiguration": {"MaxConcurrentDpus": 2}}
        answer = await self.call("StartSession", **(defaults | request))
        return answer["SessionId"], answer["State"]

    async def calculate(self, session_id: str, code: str) -> str:
        answer = await self.call("StartCalculationExecution", SessionId=session_id, CodeBlock=code)
        await self.settle()
        return str(answer["CalculationExecutionId"])

    async def terminate(self, session_id: str) -> str:
        """The state that TerminateSession answered."""
        answer = await self.call("TerminateSession", SessionId=session_id)
        await self.settle()
        return str(answer["State"])

    async def stop_calculation(self, calculation_id: str) -> str:
        answer = await self.call("StopCalculationExecution", CalculationExecutionId=calculation_id)
        await self.settle()
        return str(answer["State"])

    async def run_cell(self, session_id: str, code: str) -> str:
        """The page of the session runs a cell: the id of its calculation."""
        calculation_id = self.launcher.run_cell((await self.driver(session_id)).id, code)
        await self.settle()
        return calculation_id

    async def extend(self, session_id: str) -> dict[str, Any]:
        return await idle.extend(self.context, session_id)

    async def report_executor(self, session_id: str, executor_id: str, **told: Any) -> None:
        """Spark has one more executor in this session, or one of them ended."""
        driver = await self.driver(session_id)
        self.launcher.report_executor(driver.id, executor_id, **told)
        await self.settle()

    # --- what can be seen ----------------------------------------------------------------------

    async def session(self, session_id: str) -> Session:
        return await self.store.read(lambda tx: sessions.get(tx, session_id))

    async def state(self, session_id: str) -> str:
        return str((await self.session(session_id)).state)

    async def calculation(self, calculation_id: str) -> Calculation:
        return await self.store.read(lambda tx: calculations.get(tx, calculation_id))

    async def driver(self, session_id: str) -> Driver:
        found = await self.store.read(lambda tx: drivers.of_session(tx, SessionId(session_id)))
        assert found is not None
        return found

    async def waiting(self) -> list[Driver]:
        """The members of the pool that are ready."""
        live = await self.store.read(drivers.list_live)
        return [d for d in live if d.session_id is None and d.ready_at is not None]

    async def history(self, session_id: str) -> list[str]:
        rows = await self.store.read(lambda tx: sessions.history(tx, session_id))
        return [row.to_state for row in rows]

    def outputs(self, calculation: Calculation) -> dict[str, bytes | None]:
        """The three objects of a calculation; None for one that is not there."""
        found: dict[str, bytes | None] = {}
        for name in OUTPUT_NAMES:
            place = locations.parse(calculation.output(name))
            there = self.files.exists(place.bucket, place.key)
            found[name] = self.files.read_bytes(place.bucket, place.key) if there else None
        return found

    async def check(self) -> None:
        """What must hold at any moment at which nothing happens."""
        for session in await self.store.read(all_sessions):
            driver = await self.store.read(partial(drivers.of_session, session_id=session.id))
            done = await self.store.read(partial(of_session, session_id=session.id))
            active = [c for c in done if c.state not in calculation_domain.TERMINAL]
            running = [c for c in active if c.started_at is not None]
            assert len(running) <= 1, f"{session.id} runs {len(running)} calculations"
            if session.state in session_domain.TERMINAL:
                assert not active, f"{session.id} has ended, its calculation has not"
                assert driver is None or driver.ended_at is not None
                assert driver is None or await self.launcher.find(driver.id) is None
            if session.state is session_domain.State.IDLE:
                assert not active, f"{session.id} is IDLE while a calculation runs"
            if session.state is session_domain.State.BUSY:
                assert active, f"{session.id} is BUSY with nothing"
            for calculation in done:
                if calculation.state in calculation_domain.TERMINAL:
                    missing = [n for n, data in self.outputs(calculation).items() if data is None]
                    assert not missing, f"{calculation.state} calculation lacks {missing}"

    async def end(self) -> None:
        """The end of every story: nothing is left alive, and every session has ended."""
        await self.stop()
        await self.settle()
        await self.check()
        left = [s for s in await self.store.read(all_sessions) if s.ended_at is None]
        assert not left
        assert self.launcher.alive == 0
        assert await self.store.read(drivers.list_live) == []


@asynccontextmanager
async def world(
    folder: Path,
    *,
    pool: int = 0,
    limits: Limits | None = None,
    starts_at_once: int = 2,
    budgets: Sequence[Budget] = (),
    roles: Roles | None = None,
    engine: str | None = None,
    service: bool = False,
    session_keys: SessionKeys | None = None,
) -> AsyncIterator[World]:
    """A world that has begun; at the end it is stopped, and nothing may be left of it."""
    made = World(
        folder,
        pool=pool,
        limits=limits or Limits(),
        starts_at_once=starts_at_once,
        budgets=budgets,
        roles=roles or Roles(),
        engine=engine or ENGINE.get(),
        service=service,
        session_keys=session_keys,
    )
    try:
        await made.begin()
        yield made
        await made.end()
    finally:
        made.store.close()


@asynccontextmanager
async def pair(
    folder: Path, *, pool: int = 0, starts_at_once: int = 2, limits: Limits | None = None
) -> AsyncIterator[tuple[World, World]]:
    """Two servers on one store and one machine. At the end both are stopped, if they still live,
    and nothing may be left."""
    first = World(
        folder,
        pool=pool,
        limits=limits or Limits(),
        starts_at_once=starts_at_once,
        budgets=(),
        roles=Roles(),
        engine=ENGINE.get(),
    )
    second = World(
        folder,
        pool=pool,
        limits=first.limits,
        starts_at_once=starts_at_once,
        budgets=(),
        roles=Roles(),
        engine=ENGINE.get(),
        beside=first,
    )
    # The first was put together before it knew that there is another.
    first.assemble()
    try:
        await first.begin()
        await second.join()
        yield first, second
        staying = [w for w in (first, second) if w.place.pid in first.room.living]
        for w in staying[:-1]:
            await w.stop()
            await w.settle()
        await staying[-1].end()
    finally:
        first.store.close()


def all_sessions(tx: Connection) -> list[Session]:
    ids = tx.execute(select(tables.sessions.c.id)).scalars().all()
    return [sessions.get(tx, session_id) for session_id in ids]


def of_session(tx: Connection, session_id: str) -> list[Calculation]:
    query = select(tables.calculations.c.id).where(tables.calculations.c.session_id == session_id)
    return [calculations.get(tx, found) for found in tx.execute(query).scalars().all()]


def _footprint(tx: Connection) -> tuple[Any, ...]:
    """Changes whenever a row does."""
    return tuple(
        tuple(tx.execute(select(func.count(), func.sum(column))).one())
        for column in (
            tables.sessions.c.version,
            tables.calculations.c.version,
            tables.drivers.c.created_at,
            tables.drivers.c.ready_at,
            tables.drivers.c.adopted_at,
            tables.drivers.c.ended_at,
            tables.executors.c.cores,
            tables.executors.c.ended_at,
        )
    )

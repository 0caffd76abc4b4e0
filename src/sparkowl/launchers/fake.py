"""Drivers that are only make-believe: no Spark, no process, and a knob for every failure.

For tests, demonstrations and work on the API itself. A fake driver speaks the same messages over
the same link as a real one; its calculations print their own code, but for the few directives of
:meth:`_FakeDriver._run`.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparkowl.agent import messages
from sparkowl.agent.messages import Adopt, Cancel, Command, Outcome, Run, Stop, Welcome
from sparkowl.domain.ids import DriverId
from sparkowl.launchers.base import (
    Isolation,
    Launcher,
    LaunchError,
    LaunchSpec,
    Left,
    Observation,
    Take,
)

#: Hands the driver's end of a link to the server, which serves it until it closes.
Dial = Callable[[DriverId, str, "FakeChannel"], Awaitable[None]]
#: Puts outputs where a Run wants them uploaded to: why that cannot be, or nothing.
Upload = Callable[[Run, Mapping[str, bytes]], Awaitable[str]]


@dataclass(slots=True)
class Knobs:
    """What goes wrong. Turned at any time; each launch looks at them."""

    #: ``room`` answers this.
    no_room: str | None = None
    #: ``launch`` raises LaunchError with this text.
    launch_error: str | None = None
    #: The driver dies before it dials.
    dies_before_link: bool = False
    #: The driver never reports ready.
    never_ready: bool = False
    #: The driver reports that it failed, with this reason, instead of ready.
    fails_to_start: str | None = None
    #: The driver never answers an Adopt.
    never_adopts: bool = False
    #: Outputs cannot be stored where they belong, and stay with the driver.
    stores_nothing: bool = False
    #: The driver never answers a Cancel.
    never_cancels: bool = False
    #: The folder of a Jupyter server's socket, which all drivers then have.
    jupyter: Path | None = None
    #: Nothing keeps user code from the server's files, for this reason.
    unisolated: str | None = None


class FakeChannel:
    """The server's end of a fake link. None in a queue is its end."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[str | None] = asyncio.Queue()
        self.to_driver: asyncio.Queue[str | None] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.to_driver.put_nowait(text)

    async def receive(self) -> str | None:
        return await self.to_server.get()

    async def close(self) -> None:
        self.to_server.put_nowait(None)
        self.to_driver.put_nowait(None)


class FakeLauncher:
    """A launcher without a place to launch to."""

    def __init__(
        self, dial: Dial, beside: FakeLauncher | None = None, upload: Upload | None = None
    ) -> None:
        """``beside``: another server's, on the same machine; both find each other's drivers."""
        self.knobs = Knobs()
        self._dial = dial
        self._upload = upload or _nowhere
        self._drivers: dict[str, _FakeDriver] = {} if beside is None else beside._drivers
        #: How often a launch was asked for.
        self.launches = 0
        #: What the last launch was asked for.
        self.last: LaunchSpec | None = None

    @property
    def alive(self) -> int:
        """How many drivers live; a story that ends well leaves none."""
        return len(self.living)

    @property
    def living(self) -> list[str]:
        """The ids of the drivers that live, in the order of their launches."""
        return [driver_id for driver_id, driver in self._drivers.items() if driver.alive]

    def room(self, starting: int) -> str | None:
        return self.knobs.no_room

    async def isolation(self) -> Isolation:
        missing = self.knobs.unisolated
        return Isolation(
            in_force=f"none: {missing}" if missing else "make-believe drivers run no user code",
            missing=missing,
            guards_paths=missing is None,
        )

    async def launch(self, spec: LaunchSpec) -> str:
        self.launches += 1
        self.last = spec
        if self.knobs.launch_error is not None:
            raise LaunchError(self.knobs.launch_error)
        driver = _FakeDriver(spec, self.knobs, self._dial, self._upload)
        self._drivers[spec.driver_id] = driver
        driver.start()
        return json.dumps({"v": 1, "fake": spec.driver_id})

    async def find(self, driver_id: DriverId) -> str | None:
        driver = self._drivers.get(driver_id)
        if driver is None or not driver.alive:
            return None
        await driver.redirect(self._dial)
        return json.dumps({"v": 1, "fake": driver_id})

    async def find_all(self, driver_ids: Collection[DriverId]) -> Mapping[DriverId, str]:
        found = {driver_id: await self.find(driver_id) for driver_id in driver_ids}
        return {driver_id: handle for driver_id, handle in found.items() if handle is not None}

    async def observe(self, handle: str) -> Observation:
        driver = self._drivers.get(json.loads(handle)["fake"])
        if driver is None or not driver.alive:
            return Observation(alive=False, ended="The fake driver ended.")
        return Observation(alive=True)

    async def left(self, handle: str) -> Left:
        driver = self._drivers.get(json.loads(handle)["fake"])
        return Left() if driver is None else driver.left()

    async def left_outputs(self, handle: str, calculation_id: str) -> Mapping[str, bytes]:
        driver = self._drivers.get(json.loads(handle)["fake"])
        return {} if driver is None else driver.spool.get(calculation_id, {})

    def jupyter(self, handle: str) -> Path:
        if self.knobs.jupyter is None:
            raise LaunchError("Make-believe drivers have no Jupyter server.")
        return self.knobs.jupyter

    async def stop(self, handle: str, *, grace_s: float, take: Take | None = None) -> None:
        driver_id = json.loads(handle)["fake"]
        driver = self._drivers.get(driver_id)
        if driver is not None:
            await driver.end()
        if take is not None:
            await take()
        if driver is not None:
            driver.clear()
            # Forgotten: a server under load ends thousands.
            self._drivers.pop(driver_id, None)

    def adopt_of(self, driver_id: str) -> Adopt | None:
        """What the driver was told when it became a session's."""
        return self._drivers[driver_id].adopted

    async def kill(self, driver_id: str) -> None:
        """The driver dies without a word."""
        await self._drivers[driver_id].end()

    def run_cell(self, driver_id: str, code: str) -> str:
        """Somebody runs a cell in the page of the driver's session: the id of its calculation."""
        return self._drivers[driver_id].run_cell(code)

    def cells(self, driver_id: str) -> list[str]:
        """The cells that the driver's page has run, in their order."""
        return list(self._drivers[driver_id].cells)

    def waiting_cells(self, driver_id: str) -> list[str]:
        """Those that the page waits for."""
        return self._drivers[driver_id].waiting_cells()

    def restart(self, driver_id: str) -> None:
        """Somebody restarts the kernel in the page."""
        self._drivers[driver_id].restart()

    def complete(self, driver_id: str) -> None:
        """What hangs there comes to a good end."""
        self._drivers[driver_id].complete()

    def fail(self, driver_id: str, reason: str, code: str = "CRASH") -> None:
        """The driver finds that it is lost, or alone."""
        self._drivers[driver_id].fail(reason, code)

    def leave(self, driver_id: str, *frames: str) -> None:
        """Put something among the facts that the driver will leave."""
        self._drivers[driver_id].planted.extend(frames)

    async def cut(self, driver_id: str) -> None:
        """The driver's link breaks; the driver lives on."""
        await self._drivers[driver_id].cut()

    def report_executor(  # noqa: PLR0913  an executor has as many facts as it has
        self,
        driver_id: str,
        executor_id: str,
        *,
        cores: int,
        started_at: float,
        ended_at: float = 0.0,
        reason: str = "",
    ) -> None:
        """The driver reports an executor, as Spark would see it on a cluster."""
        driver = self._drivers[driver_id]
        driver.report_executor(executor_id, cores, started_at, ended_at, reason)

    def reconnect(self, driver_id: str) -> None:
        """A driver whose link broke dials again."""
        self._drivers[driver_id].start()


class _FakeDriver:
    def __init__(self, spec: LaunchSpec, knobs: Knobs, dial: Dial, upload: Upload) -> None:
        self._upload = upload
        self.alive = True
        self.adopted: Adopt | None = None
        self._spec = spec
        self._knobs = knobs
        self._dial = dial
        self._channel = FakeChannel()
        self._seq = 0
        self._unacknowledged: dict[int, messages.Fact] = {}
        #: Outputs that could not be stored, by calculation and name.
        self.spool: dict[str, dict[str, bytes]] = {}
        #: What somebody else put among its facts.
        self.planted: list[str] = []
        self._running: Run | None = None
        #: The page's, by the ids of their calculations.
        self.cells: dict[str, str] = {}
        self._ended: set[str] = set()
        self._seen: set[str] = set()
        self._canceled_early: set[str] = set()
        self._reported_ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        if self._knobs.dies_before_link:
            self.alive = False
            return
        self._channel = FakeChannel()
        self._spawn(self._dial(self._spec.driver_id, self._spec.token, self._channel))
        self._spawn(self._serve(self._channel))

    async def redirect(self, dial: Dial) -> None:
        """The server is elsewhere now: an agent notices, and dials there."""
        if dial is not self._dial:
            self._dial = dial
            await self._channel.close()
            self.start()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cut(self) -> None:
        await self._channel.close()

    async def end(self) -> None:
        self.alive = False
        await self._channel.close()

    def left(self) -> Left:
        facts = tuple(map(messages.encode, self._unacknowledged.values()))
        return Left(facts=(*self.planted, *facts), calculations=tuple(self.spool))

    def clear(self) -> None:
        self._unacknowledged.clear()
        self.planted.clear()
        self.spool.clear()

    def run_cell(self, code: str) -> str:
        calculation_id = str(uuid.uuid4())
        self.cells[calculation_id] = code
        self._fact(
            messages.Cell(
                seq=self._next(), calculation_id=calculation_id, code=code, at=time.time()
            )
        )
        return calculation_id

    def waiting_cells(self) -> list[str]:
        over = self._ended | self._canceled_early
        return [cell for cell in self.cells if cell not in over]

    def restart(self) -> None:
        # As a real one: the page is told at once, and each ends when it is handed over.
        self._canceled_early.update(set(self.waiting_cells()) - self._seen)
        if self._running is not None:
            self._cancel(self._running.calculation_id)
        self._fact(messages.Restarted(seq=self._next(), at=time.time()))

    def complete(self) -> None:
        if self._running is not None:
            run, self._running = self._running, None
            self._finish(run, "completed", "")

    async def _serve(self, channel: FakeChannel) -> None:
        while (text := await channel.to_driver.get()) is not None:
            command = messages.decode(text)
            if isinstance(command, messages.Ack):
                self._acknowledge(command.seq)
            else:
                await self._obey(command)  # type: ignore[arg-type]  # the server sends commands only

    def _acknowledge(self, seq: int) -> None:
        self._unacknowledged = {n: f for n, f in self._unacknowledged.items() if n > seq}

    async def _obey(self, command: Command) -> None:
        match command:
            case Welcome():
                for fact in self._unacknowledged.values():
                    self._say(fact)
                self._report_ready()
            case Adopt() if not self._knobs.never_adopts:
                before = self.adopted
                self.adopted = command if before is None else before.repeated(command)
                self._fact(messages.Adopted(seq=self._next(), session_id=command.session_id))
            case Run() if command.calculation_id not in self._seen:
                self._seen.add(command.calculation_id)
                self._run(command)
            case Cancel(calculation_id=calculation_id) if not self._knobs.never_cancels:
                self._cancel(calculation_id)
            case Stop():
                await self.end()
            case _:
                pass

    def _report_ready(self) -> None:
        if self._reported_ready or self._knobs.never_ready:
            return
        self._reported_ready = True
        if self._knobs.fails_to_start is not None:
            self.fail(self._knobs.fails_to_start)
            return
        self._fact(
            messages.Ready(
                seq=self._next(),
                marks={"agent": 0.0, "jvm": 0.0, "context": 0.0, "ready": 0.0},
                spark_version="fake",
                java_version="fake",
                python_version="fake",
                archive="missing",
                isolation="none: fake",
            )
        )

    def report_executor(
        self, executor_id: str, cores: int, started_at: float, ended_at: float, reason: str
    ) -> None:
        self._fact(
            messages.Executor(
                seq=self._next(),
                executor_id=executor_id,
                cores=cores,
                started_at=started_at,
                ended_at=ended_at,
                reason=reason,
            )
        )

    def _run(self, run: Run) -> None:
        """``hang`` runs until it is cancelled, ``fail WHY`` fails, ``die WHY`` ends the driver,
        anything else is printed."""
        if run.calculation_id in self._canceled_early:
            self._finish(run, "canceled", "")
            return
        if self._running is not None:
            self.fail("It was given two blocks at once.")
            return
        self._fact(
            messages.Started(seq=self._next(), calculation_id=run.calculation_id, at=time.time())
        )
        if run.code == "hang":
            self._running = run
        elif run.code.startswith("die "):
            self.fail(run.code.removeprefix("die "))
        elif run.code.startswith("fail "):
            self._finish(run, "failed", run.code.removeprefix("fail "))
        else:
            self._finish(run, "completed", "")

    def _cancel(self, calculation_id: str) -> None:
        if self._running is not None and self._running.calculation_id == calculation_id:
            run, self._running = self._running, None
            self._finish(run, "canceled", "")
        elif calculation_id not in self._seen:
            self._canceled_early.add(calculation_id)

    def fail(self, reason: str, code: str = "CRASH") -> None:
        """Report that the driver is lost. As a real one it lingers, to hand the report in."""
        self._fact(messages.Failed(seq=self._next(), reason=reason, code=code))

    def _finish(self, run: Run, outcome: Outcome, reason: str) -> None:
        written = {
            "stdout": (run.code if outcome == "completed" else "").encode(),
            "stderr": reason.encode(),
            "result.json": b"{}",
        }
        if self._knobs.stores_nothing:
            self.spool[run.calculation_id] = written
            self._end(run.calculation_id, "failed", "The output could not be stored.")
            return
        if run.output_uri:
            self._spawn(self._uploaded(run, written, outcome, reason))
            return
        folder = Path(run.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            (folder / name).write_bytes(content)
        self._end(run.calculation_id, outcome, reason)

    async def _uploaded(
        self, run: Run, written: dict[str, bytes], outcome: Outcome, reason: str
    ) -> None:
        trouble = await self._upload(run, written)
        if trouble:
            self.spool[run.calculation_id] = written
            outcome, reason = "failed", trouble
        self._end(run.calculation_id, outcome, reason)

    def _end(self, calculation_id: str, outcome: Outcome, reason: str) -> None:
        self._ended.add(calculation_id)
        self._fact(
            messages.Ended(
                seq=self._next(),
                calculation_id=calculation_id,
                outcome=outcome,
                reason=reason,
                at=time.time(),
            )
        )

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _fact(self, fact: messages.Fact) -> None:
        self._unacknowledged[fact.seq] = fact
        self._say(fact)

    def _say(self, fact: messages.Fact) -> None:
        self._channel.to_server.put_nowait(messages.encode(fact))


async def _nowhere(run: Run, contents: Mapping[str, bytes]) -> str:
    return "The output could not be stored."


_: type[Launcher] = FakeLauncher

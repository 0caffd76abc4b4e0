"""The agent: from two processes just started to a driver that serves, until it ends.

The order of a driver's life is here, top to bottom, in :meth:`Agent.run`; each part of it has a
module of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from sparkowl.agent import jvm
from sparkowl.agent.aws import Profile
from sparkowl.agent.cells import Cells
from sparkowl.agent.clerk import Clerk
from sparkowl.agent.executors import ExecutorWatch, Roster
from sparkowl.agent.executors import report as report_executors
from sparkowl.agent.folder import Folder
from sparkowl.agent.generation import Generation
from sparkowl.agent.launch import DriverLost, Launched, launch
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.link import Link, ServerAway, ServerGone
from sparkowl.agent.messages import (
    Adopt,
    Adopted,
    Cancel,
    Command,
    DriverSpec,
    Failed,
    Ready,
    Restarted,
    Run,
    Stop,
)
from sparkowl.agent.notebooks import Notebooks, Program
from sparkowl.agent.outbox import Outbox
from sparkowl.agent.reaper import Reaper
from sparkowl.agent.runner import Runner
from sparkowl.agent.s3 import Service
from sparkowl.agent.shelf import Shelf
from sparkowl.agent.uploads import Carrier

log = logging.getLogger(__name__)

#: How long to try to hand in the last facts after the driver was lost...
_LAST_WORDS_S: Final = 10.0
#: ...and after it was asked to stop, which shall be quick.
_PARTING_WORDS_S: Final = 0.5
_TIDY_EVERY_S: Final = 10.0
_RESTARTED: Final = "The kernel was restarted."


class Agent:
    def __init__(self, spec: DriverSpec, launched: Launched, jupyter: Program) -> None:
        self._spec = spec
        self._launched = launched
        self._folder = Folder(Path(spec.run_dir))
        self._reaper = Reaper()
        self._generation = Generation(spec, launched, self._reaper)
        self._leftovers = Leftovers()
        self._outbox = Outbox(self._folder.outbox, self._leftovers)
        self._roster = Roster()
        #: Commands that need a driver that is up.
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._profile = Profile(spec)
        self._link = Link(
            driver_id=spec.driver_id,
            token=spec.token,
            url_file=self._folder.server_url,
            outbox=self._outbox,
            on_command=self._on_command,
            gives_up_at=self._gives_up_at,
            on_server=self._profile.follow,
        )
        self._cells = Cells(self._outbox)
        self._runner = Runner(
            cells=self._cells,
            outbox=self._outbox,
            leftovers=self._leftovers,
            tell=self._link.tell,
            spool=self._folder.spool,
            limit_bytes=spec.output_limit_bytes,
            carrier=Carrier(
                put=Service(spec.aws, self._keys).put,
                limit_s=spec.upload_for_s,
                served=self._leftovers.remove,
            ),
        )
        self._notebooks = Notebooks(
            spec,
            self._folder,
            self._reaper,
            jupyter,
            Clerk(
                cells=self._cells,
                runner=self._runner,
                shelf=Shelf(spec.driver_id, spec.token, self._folder.server_url),
                interrupt=self._interrupt,
                restart=self._restarted,
            ).answers,
            self._runner.page_closed,
        )
        #: Whose driver it is; None: nobody's yet.
        self._adopted: Adopt | None = None
        #: Adoption and restart exclude each other.
        self._changing = asyncio.Lock()
        self._restart_asked = asyncio.Event()
        self._restarts = asyncio.Condition()

    async def run(self) -> int:
        """Serve until stopped or lost; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        self._reaper.watch()
        link = asyncio.create_task(self._link.run(), name="link")
        try:
            return await self._until_the_end(link)
        finally:
            await self._generation.stop()
            await self._runner.close()
            await self._link.close()
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)

    async def _until_the_end(self, link: asyncio.Task[None]) -> int:
        """Serve until the first of: asked to stop, server gone, driver lost."""
        serving = asyncio.create_task(self._serve(), name="serve")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        ends = {link, serving, stopping}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        if stopping.done():
            return await self._stopped("The session was stopped.")
        stopping.cancel()
        try:
            (link if link.done() else serving).result()
        except DriverLost as lost:
            return await self._failed(str(lost), lost.code)
        except ServerAway as away:
            log.warning("%s", away)
            return await self._left_alone(str(away))
        except ServerGone as gone:
            log.warning("%s", gone)
            return await self._stopped(str(gone))
        except Exception as error:
            # A bug of ours. The server still gets an end with a reason, not a silence.
            log.exception("The agent failed.")
            return await self._failed(f"The driver's agent failed: {error!r}.", "SERVER")
        raise AssertionError("serving and the link only end by an exception")

    async def _stopped(self, reason: str) -> int:
        await self._runner.abort("canceled", reason)
        await self._generation.stop()
        await self._outbox.emptied(_PARTING_WORDS_S)
        self._say_why(reason)
        return 0

    async def _left_alone(self, reason: str) -> int:
        """Nobody hears the last facts now: they stay in the outbox, where the next server looks."""
        self._say_why(reason)
        await self._report_end(reason, "SERVER")
        await self._generation.stop()
        return 0

    async def _failed(self, reason: str, code: str) -> int:
        """The calculation's end first, then the driver's: that is the order in which they count."""
        self._say_why(reason)
        await self._report_end(reason, code)
        await self._generation.stop()
        await self._outbox.emptied(_LAST_WORDS_S)
        return 1

    async def _report_end(self, reason: str, code: str) -> None:
        await self._runner.abort("failed", f"Calculation ended with its session [{code}] {reason}")
        self._outbox.put(Failed, reason=reason, code=code)

    def _say_why(self, reason: str) -> None:
        with suppress(OSError):
            self._folder.exit.write_text(json.dumps({"reason": reason}))

    async def _serve(self) -> None:
        """Come up, then do what the server says; ends by :class:`DriverLost` only."""
        await self._come_up()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._generations(), name="generations")
                tasks.create_task(self._obey(), name="commands")
                tasks.create_task(self._notebooks.run(), name="notebooks")
                tasks.create_task(self._tidy(), name="tidy")
        except* DriverLost as lost:
            raise _first(lost) from None

    async def _come_up(self) -> None:
        self._profile.write()
        report = await self._generation.come_up()
        self._outbox.put(
            Ready,
            marks={"agent": self._launched.at, **report["marks"], "ready": time.time()},
            spark_version=report["spark_version"],
            java_version=report["java_version"],
            python_version=report["python_version"],
            archive=_archive_state(self._launched.archive, sharing=report["sharing"]),
            isolation=self._launched.isolation,
        )

    async def _generations(self) -> None:
        """One after the other, each until the page asks for the next."""
        while True:
            await self._work_until_restart()
            await self._restart()

    async def _work_until_restart(self) -> None:
        engine = self._generation.engine
        assert engine is not None
        master = jvm.master(self._spec)
        watch = ExecutorWatch(engine.spark, self._outbox, self._runner, master, self._roster)
        works = [
            asyncio.create_task(self._generation.lost(), name="watch"),
            asyncio.create_task(self._runner.work(engine), name="calculations"),
            asyncio.create_task(watch.run(), name="executors"),
        ]
        asked = asyncio.create_task(self._restart_asked.wait(), name="restart")
        try:
            await asyncio.wait((*works, asked), return_when=asyncio.FIRST_COMPLETED)
            for work in works:
                if work.done():
                    work.result()
        finally:
            for task in (*works, asked):
                task.cancel()
            await asyncio.gather(*works, asked, return_exceptions=True)

    async def _restart(self) -> None:
        """Another generation in the place of this one, for the same session; the page stays."""
        async with self._changing:
            await self._runner.abort("canceled", _RESTARTED)
            report_executors(self._outbox, self._roster.take("", (), time.time()))
            await self._generation.make_way(list(self._notebooks.processes))
            # Nobody waits for it unless they have code to run: that would only be slowed.
            launched = launch(replace(self._spec, warm=False), time.time())
            self._generation = Generation(self._spec, launched, self._reaper)
            await self._generation.come_up()
            self._profile.write()
            if self._adopted is not None:
                await self._generation.adopt(self._adopted)
            self._restart_asked.clear()
            self._outbox.put(Restarted, at=time.time())
        async with self._restarts:
            self._restarts.notify_all()

    async def _restarted(self) -> None:
        """Ask for a restart, or join the one that is under way; return when it is done."""
        self._restart_asked.set()
        async with self._restarts:
            await self._restarts.wait_for(lambda: not self._restart_asked.is_set())

    def _interrupt(self) -> None:
        if not self._runner.interrupt():
            self._generation.interrupt()

    def _on_command(self, command: Command) -> None:
        """Called by the link. Stopping cannot wait for the driver; the rest keeps its order."""
        match command:
            case Stop():
                self._stop.set()
            case Cancel(calculation_id=calculation_id, reason=reason):
                self._runner.cancel(calculation_id, reason)
            case Adopt() | Run():
                self._commands.put_nowait(command)
            case _:
                log.warning("Not a command: %r", command)

    async def _obey(self) -> None:
        while True:
            match await self._commands.get():
                case Adopt() as adopt:
                    await self._adopt(adopt)
                case Run() as run:
                    self._runner.take(run)

    async def _adopt(self, adopt: Adopt) -> None:
        async with self._changing:
            self._profile.give(adopt.credentials)
            if self._adopted is None:
                await self._generation.adopt(adopt)
            else:
                # It brings new keys; what the user has set since stays. A server that was restarted
                # need not know the packages any more.
                adopt = replace(adopt, packages=adopt.packages or self._adopted.packages)
            self._adopted = adopt
        self._notebooks.adopt(adopt)
        self._outbox.put(Adopted, session_id=adopt.session_id)

    def _keys(self) -> Mapping[str, str]:
        """The session's own, for its outputs."""
        return {} if self._adopted is None else self._adopted.credentials

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            self._generation.trim_logs()

    def _gives_up_at(self, last_heard: float) -> float:
        """A calculation may end while the server is away; only then the driver is idle."""
        if self._runner.busy:
            return last_heard + self._spec.away_busy_s
        return max(last_heard, self._runner.last_end) + self._spec.away_idle_s


def _archive_state(archive: Path | None, *, sharing: bool) -> str:
    if archive is None:
        return "missing"
    return "used" if sharing else "rejected"


def _first(lost: BaseExceptionGroup[DriverLost]) -> DriverLost:
    first = lost.exceptions[0]
    return first if isinstance(first, DriverLost) else _first(first)


async def report_failure(spec: DriverSpec, lost: DriverLost) -> int:
    """The whole life of an agent whose driver could not even be launched."""
    reason = str(lost)
    folder = Folder(Path(spec.run_dir))
    folder.exit.write_text(json.dumps({"reason": reason}))
    outbox = Outbox(folder.outbox, Leftovers())
    outbox.put(Failed, reason=reason, code=lost.code)
    link = Link(
        driver_id=spec.driver_id,
        token=spec.token,
        url_file=folder.server_url,
        outbox=outbox,
        on_command=lambda _command: None,
        gives_up_at=lambda heard: heard + _LAST_WORDS_S,
    )
    talking = asyncio.create_task(link.run(), name="link")
    await outbox.emptied(_LAST_WORDS_S)
    await link.close()
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    return 1

"""The agent's own line to the JVM, beside the kernel's: progress, cancelling, later settings.

It works while the user's thread is blocked in a Spark action. Connected on first use, from one
thread of its own, because py4j blocks; the thread never starts a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from sparkowl.agent import buckets as mounts
from sparkowl.agent import jvm
from sparkowl.agent.noise import silence_py4j

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Spark's own id of the driver among its executors.
DRIVER: Final = "driver"

_ANSWERS_WITHIN_S: Final = 1.0


class SparkUnreachable(Exception):
    """The JVM did not answer, or refused; the message is what it said."""


class SparkRefused(SparkUnreachable):
    """The JVM answered with an error; the message is Java's."""


@dataclass(frozen=True, slots=True)
class StageSeen:
    """A stage as Spark's status tracker has it."""

    tasks: int
    done: int
    #: Where in the code its action is, in Spark's words.
    name: str = ""


@dataclass
class Stages:
    """The stages of one calculation's jobs, as far as they were seen."""

    #: By Spark's number of the stage, which rises.
    seen: dict[int, StageSeen] = field(default_factory=dict)
    percent: int = 0

    def take(self, active: Mapping[int, StageSeen]) -> int:
        """Percent of the tasks known so far. New jobs bring new tasks; it never falls."""
        # A stage that is not active any more is done, or was skipped.
        self.seen = {
            number: replace(stage, done=stage.tasks) for number, stage in self.seen.items()
        } | dict(active)
        tasks = sum(stage.tasks for stage in self.seen.values())
        done = sum(stage.done for stage in self.seen.values())
        if tasks:
            # 100 is for the calculation's own end.
            self.percent = max(self.percent, min(99, done * 100 // tasks))
        return self.percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSeen:
    """One row of Spark's status store (``ExecutorSummary``). Times: seconds since the epoch."""

    id: str
    cores: int
    started_at: float
    #: 0: it runs.
    ended_at: float = 0.0
    #: Why it ended, in Spark's words.
    reason: str = ""


class SparkLine:
    def __init__(self, gateway_file: Path) -> None:
        self._gateway_file = gateway_file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spark-line")
        self._gateway: Any = None
        self._mounted: dict[str, str] = {}
        silence_py4j()

    async def cancel_all_jobs(self) -> None:
        await self._call(self._cancel_all_jobs)

    async def at_work(self) -> bool:
        """Whether a job runs, or a call from Python is still being worked on.

        The second comes first: an interrupted Python leaves its call behind in the JVM, which may
        plan for seconds and only then start the job that nobody waits for any more.
        """
        return await self._call(lambda: bool(self._has_active_jobs() or self._has_calls()))

    async def answers(self) -> bool:
        """Whether the JVM answers at all, within a second."""
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                await self._call(lambda: self._jvm().java.lang.System.nanoTime())
        except (SparkUnreachable, TimeoutError):
            return False
        return True

    async def active_stages(self) -> dict[int, StageSeen]:
        return await self._call(self._active_stages)

    async def executors(
        self, application: str, ended: Collection[str]
    ) -> tuple[str, list[ExecutorSeen]]:
        """The running application's id (empty: none), and its executors; the driver is one.

        Without those in ``ended``, which are ids of ``application``. Spark keeps the last hundred
        that ended (``spark.ui.retainedDeadExecutors``).
        """
        return await self._call(lambda: self._executors(application, ended))

    async def mount(self, buckets: Mapping[str, str]) -> None:
        """Make buckets known that appeared after the launch."""
        new = {name: path for name, path in buckets.items() if self._mounted.get(name) != path}
        if new:
            await self._call(lambda: self._mount(new))
            self._mounted |= new

    def mounted_at_launch(self, buckets: Mapping[str, str]) -> None:
        self._mounted |= buckets

    async def configure(self, properties: Mapping[str, str]) -> None:
        """Set properties on the running session; :class:`SparkRefused` names the one refused."""
        if properties:
            await self._call(lambda: self._configure(properties))

    async def move_warehouse(self, place: str) -> None:
        """Have databases without a location land there; empty: where they would anyway."""
        if place:
            await self._call(lambda: self._move_warehouse(place))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._asked(function)
        )

    # What follows runs in the thread.

    def _asked(self, function: Callable[[], _T]) -> _T:
        """What the function returns. It may be called twice: each does no harm when repeated.

        Where a block was interrupted, the JVM was seen to have hung up on this line as well, just
        when it is to cancel what the block left behind. py4j tries one more of its connections.
        """
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            try:
                return function()
            except Py4JJavaError:
                raise  # an answer
            except Py4JError as error:
                log.info("Spark is asked again on a new connection: %s", error)
                self._hang_up()
                return function()
        except Py4JJavaError as error:
            log.info("Spark refused: %s", error)
            raise SparkRefused(jvm.message_of(error)) from error
        except (Py4JError, OSError, AttributeError) as error:
            log.info("Spark did not do as asked: %s", error)
            raise SparkUnreachable(jvm.message_of(error)) from error

    def _hang_up(self) -> None:
        if self._gateway is not None:
            self._gateway.close()
            self._gateway = None

    def _jvm(self) -> Any:
        if self._gateway is None:
            from py4j.java_gateway import GatewayParameters, JavaGateway

            found = jvm.gateway(self._gateway_file)
            if found is None:
                raise OSError("The JVM's gateway is not there.")
            port, secret = found
            self._gateway = JavaGateway(
                gateway_parameters=GatewayParameters(port=port, auth_token=secret)
            )
        return self._gateway.jvm

    def _context(self) -> Any:
        """Spark's context, or None: user code may have stopped it, and we must not make another."""
        # Of the companion object: Spark's own parts may ask, so Java sees no static method.
        companion = getattr(self._jvm().org.apache.spark, "SparkContext$")
        active = getattr(companion, "MODULE$").getActive()
        return active.get() if active.isDefined() else None

    def _tracker(self) -> Any:
        context = self._context()
        if context is None:
            return None
        java = self._jvm().org.apache.spark.api.java.JavaSparkContext
        return java.fromSparkContext(context).statusTracker()

    def _cancel_all_jobs(self) -> None:
        context = self._context()
        if context is not None:
            context.cancelAllJobs()

    def _has_active_jobs(self) -> bool:
        tracker = self._tracker()
        return tracker is not None and len(tracker.getActiveJobIds()) > 0

    def _has_calls(self) -> bool:
        """Threads that execute a py4j command, by their stacks; in one call, ours among them."""
        java = self._jvm().java
        # Java's method: of a map, py4j has Python's own `values` in its place.
        stacks = java.lang.Thread.getAllStackTraces().__getattr__("values")().toArray()
        return (
            str(java.util.Arrays.deepToString(stacks)).count("py4j.commands.CallCommand.exec") > 1
        )

    def _active_stages(self) -> dict[int, StageSeen]:
        tracker = self._tracker()
        stages: dict[int, StageSeen] = {}
        for job_id in tracker.getActiveJobIds() if tracker is not None else ():
            job = tracker.getJobInfo(job_id)
            for stage_id in job.stageIds() if job is not None else ():
                stage = tracker.getStageInfo(stage_id)
                if stage is not None:
                    stages[stage_id] = StageSeen(
                        stage.numTasks(), stage.numCompletedTasks(), str(stage.name())
                    )
        return stages

    def _executors(
        self, application: str, ended: Collection[str]
    ) -> tuple[str, list[ExecutorSeen]]:
        context = self._context()
        if context is None:
            return "", []
        running = str(context.applicationId())
        if running != application:
            ended = ()
        summaries = context.statusStore().executorList(False)
        seen = []
        for number in range(summaries.size()):
            summary = summaries.apply(number)
            # Each word is a round trip, so those of whom nothing is left to learn are passed over.
            if summary.id() not in ended:
                seen.append(_executor_seen(summary))
        return running, seen

    def _mount(self, new: Mapping[str, str]) -> None:
        context = self._context()
        for key, value in mounts.mount_keys(new).items():
            # The system property is for the context that user code makes after a `spark.stop()`.
            self._jvm().java.lang.System.setProperty(f"spark.hadoop.{key}", value)
            if context is not None:
                context.hadoopConfiguration().set(key, value)

        if context is not None:
            self._renew_file_systems(new, context.hadoopConfiguration())

    def _renew_file_systems(self, new: Iterable[str], conf: Any) -> None:
        """Hadoop caches a bucket's file system, also one that was asked for before it existed.

        The new one is made here, for all: parts of Spark hold older copies of the configuration
        (the catalogue has one of the session's beginning), which do not know the bucket.
        """
        machine = self._jvm()
        for bucket in new:
            for scheme in mounts.SCHEMES:
                uri = machine.java.net.URI(f"{scheme}://{bucket}/")
                machine.org.apache.hadoop.fs.FileSystem.get(uri, conf).close()
                machine.org.apache.hadoop.fs.FileSystem.get(uri, conf)

    def _move_warehouse(self, place: str) -> None:
        """Static to user code; but each of these is read anew: by the session that there is, by
        those that user code makes beside it, and by a context that it makes after `spark.stop()`.
        """
        key = "spark.sql.warehouse.dir"
        session = self._jvm().org.apache.spark.sql.SparkSession.getDefaultSession()
        session.get().sharedState().conf().set(key, place)
        session.get().sessionState().conf().setConfString(key, place)
        # Hive's own word for it, which Spark sets at its start and Iceberg's Hive catalogue reads.
        hadoop = session.get().sparkContext().hadoopConfiguration()
        hadoop.set("hive.metastore.warehouse.dir", place)
        self._jvm().java.lang.System.setProperty(key, place)

    def _configure(self, properties: Mapping[str, str]) -> None:
        session = self._jvm().org.apache.spark.sql.SparkSession.getDefaultSession()
        from py4j.protocol import Py4JJavaError

        for key, value in properties.items():
            try:
                session.get().conf().set(key, value)
            except Py4JJavaError as error:
                raise SparkRefused(f"{key}: {jvm.message_of(error)}") from error


def _executor_seen(summary: Any) -> ExecutorSeen:
    started_at = summary.addTime().getTime() / 1000
    if summary.isActive():
        return ExecutorSeen(id=summary.id(), cores=summary.totalCores(), started_at=started_at)
    at, why = summary.removeTime(), summary.removeReason()
    return ExecutorSeen(
        id=summary.id(),
        cores=summary.totalCores(),
        started_at=started_at,
        ended_at=at.get().getTime() / 1000 if at.isDefined() else started_at,
        reason=why.get() if why.isDefined() else "",
    )

"""The driver's two processes, the kernel and the JVM: awaited, watched, interrupted and stopped.

They were started by :mod:`.launch`. What they are told to do is not here, but in :mod:`.runner`
and :mod:`.spark`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import memory
from sparkowl.agent.folder import Folder
from sparkowl.agent.launch import DriverLost, Launched
from sparkowl.agent.messages import DriverSpec
from sparkowl.agent.processes import how_it_ended, kill, kill_leftovers
from sparkowl.agent.reaper import Reaper

#: How long the JVM may take for its own clean end (it deletes its temporary files) before SIGKILL.
_JVM_GRACE_S: Final = 1.0
#: A log that outgrows this is cut to its last part: user code can make Spark write for ever.
_LOG_LIMIT_BYTES: Final = 8 << 20
_LOG_KEPT_BYTES: Final = 1 << 20
_JVM: Final = "Spark JVM"
#: The exit status that Spark ends the JVM with when a task has no memory (SparkExitCode.OOM).
_SPARK_OUT_OF_MEMORY: Final = 52
_OUT_OF_MEMORY: Final = re.compile(r"java\.lang\.OutOfMemoryError: [^\n(]*[^\s(]")
_LOG_READ_BYTES: Final = 64 << 10
_OOM_LOOK_EVERY_S: Final = 2.0

_CAUSE: Final = re.compile(r"(?:Caused by: |Exception in thread \"[^\"]*\" )(?P<what>.+)")
_HINT_LIMIT: Final = 500


class Driver:
    """Both processes while they live, seen from the agent's event loop."""

    def __init__(self, spec: DriverSpec, launched: Launched, reaper: Reaper) -> None:
        self._spec = spec
        self._reaper = reaper
        self._launched = launched
        self._folder = Folder(Path(spec.run_dir))
        self.kernel_pid = launched.kernel.pid
        self._oom_kills = memory.oom_kills()
        self._oom_look_at = 0.0
        self._lost: asyncio.Future[DriverLost] = asyncio.get_running_loop().create_future()
        for name, process in ((_JVM, launched.jvm), ("Python kernel", launched.kernel)):
            reaper.tell(process.pid, partial(self._ended, name, process))

    async def lost(self) -> DriverLost:
        """Wait until the kernel or the JVM is gone, or given up; how it ended."""
        return await asyncio.shield(self._lost)

    async def report(self) -> dict[str, Any]:
        """The kernel's report that Spark is up; :class:`DriverLost` when it does not come up."""
        line = asyncio.ensure_future(self._report_line())
        lost = asyncio.ensure_future(self.lost())
        await asyncio.wait({line, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        # The JVM's end is the cause, the kernel's complaint about it only the consequence.
        if self._launched.jvm.returncode is not None or not line.done() or not line.result():
            line.cancel()
            raise await self._why_not_started()
        report: dict[str, Any] = json.loads(line.result())
        if "error" in report:
            raise DriverLost(f"Spark could not be started: {_first_line(report['error'])}")
        return report

    async def _report_line(self) -> bytes:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(self._launched.report, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            return await reader.readline()
        finally:
            transport.close()

    async def _why_not_started(self) -> DriverLost:
        lost = await self.lost()
        how = str(lost)
        log = (
            self._folder.jvm_log
            if self._launched.jvm.returncode is not None
            else (self._folder.kernel_log)
        )
        if "signal" in how or lost.code != "CRASH":
            # The log's last line has nothing to do with it.
            return lost
        hint = important_line(log.read_text(errors="replace"))
        return DriverLost(f"{how} {hint}") if hint else lost

    def _ended(self, name: str, process: subprocess.Popen[bytes], returncode: int) -> None:
        process.returncode = returncode
        if not self._lost.done():
            self._lost.set_result(self._why(name, returncode))

    def _why(self, name: str, returncode: int) -> DriverLost:
        how = f"The {name} {how_it_ended(returncode)}"
        if returncode == -signal.SIGKILL:
            if memory.killed_in_group(self._spec.control_group):
                limit = self._spec.memory_limit_bytes >> 20
                return DriverLost(f"{how}: over its limit of {limit} MiB of memory.", "MEMORY")
            if memory.oom_kills() > self._oom_kills:
                return DriverLost(f"{how} when the machine had no memory left.", "MEMORY")
        if name == _JVM and returncode > 0 and (what := self._out_of_heap(returncode)):
            heap = self._spec.heap
            return DriverLost(f"{how}: {what} (its heap is at most {heap}).", "MEMORY")
        return DriverLost(f"{how}.")

    def _out_of_heap(self, returncode: int) -> str:
        """What the JVM said, or Spark by its exit status, of memory before it ended itself."""
        with suppress(OSError), self._folder.jvm_log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_READ_BYTES))
            found = _OUT_OF_MEMORY.findall(log.read().decode(errors="replace"))
            if found:
                return str(found[-1])
        return "it ran out of memory" if returncode == _SPARK_OUT_OF_MEMORY else ""

    async def watch_memory(self) -> None:
        """Give the driver up when it uses more memory than it may; where no control group does."""
        limit = self._spec.memory_limit_bytes
        watch = memory.Watch(limit, lambda: memory.family(os.getpid()))
        while True:
            await asyncio.sleep(memory.LOOK_EVERY_S)
            if limit and self._spec.control_group is None and (used := watch.over()) is not None:
                self.give_up(memory.too_much(used, limit), "MEMORY")
                return
            self._remember_oom_kills()

    def _remember_oom_kills(self) -> None:
        """Somebody else's death a while ago is not the cause of one of ours now."""
        now = time.monotonic()
        if now >= self._oom_look_at:
            self._oom_kills, self._oom_look_at = memory.oom_kills(), now + _OOM_LOOK_EVERY_S

    def interrupt(self, *, everyone: bool = False) -> None:
        """SIGINT to the kernel, or to its whole process group."""
        if self._launched.kernel.returncode is None:
            with suppress(ProcessLookupError):
                (os.killpg if everyone else os.kill)(self.kernel_pid, signal.SIGINT)

    def give_up(self, reason: str, code: str) -> None:
        """Kill everything now, for this reason; unless the driver is lost already."""
        if not self._lost.done():
            self._lost.set_result(DriverLost(reason, code))
        kill_leftovers(self._spec.driver_id, self._folder.root)

    def _kill_kernel(self) -> None:
        if self._launched.kernel.returncode is None:
            kill(self.kernel_pid)

    async def stop(self, spared: Collection[int] = ()) -> None:
        """End both processes and whatever they left behind, but for the ``spared``. Repeated: no
        effect."""
        self._kill_kernel()
        if self._launched.jvm.stdin is not None:
            with suppress(OSError):
                self._launched.jvm.stdin.close()  # the gateway's end
        with suppress(TimeoutError):
            async with asyncio.timeout(_JVM_GRACE_S):
                while self._launched.jvm.returncode is None:
                    await asyncio.sleep(0.01)
                    self._reaper.reap()
        kill_leftovers(self._spec.driver_id, self._folder.root, spared)
        self._reaper.reap()

    def trim_logs(self) -> None:
        """Keep the logs of a talkative session small. The writers append, so cutting is safe."""
        for log in (self._folder.jvm_log, self._folder.kernel_log, self._folder.jupyter_log):
            with suppress(OSError):
                if log.stat().st_size > _LOG_LIMIT_BYTES:
                    with log.open("r+b") as file:
                        file.seek(-_LOG_KEPT_BYTES, os.SEEK_END)
                        tail = file.read()
                        file.seek(0)
                        file.write(tail)
                        file.truncate()


def important_line(log: str) -> str:
    """The line of a failed start's log that says why: the last cause named, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [found["what"] for line in lines if (found := _CAUSE.match(line))]
    if causes:
        return causes[-1][:_HINT_LIMIT]
    # Java ends every refusal to start with two or three of these; what is wrong stands before.
    said = [line for line in lines if not line.startswith(("Error: ", "at "))]
    return (said or lines or [""])[-1][:_HINT_LIMIT]


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:_HINT_LIMIT]

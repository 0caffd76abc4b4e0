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
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.folder import Folder
from sparkowl.agent.launch import DriverLost, Launched
from sparkowl.agent.messages import DriverSpec
from sparkowl.agent.processes import how_it_ended, kill, kill_leftovers

#: How long the JVM may take for its own clean end (it deletes its temporary files) before SIGKILL.
_JVM_GRACE_S: Final = 1.0
#: A log that outgrows this is cut to its last part: user code can make Spark write for ever.
_LOG_LIMIT_BYTES: Final = 8 << 20
_LOG_KEPT_BYTES: Final = 1 << 20


_CAUSE: Final = re.compile(r"(?:Caused by: |Exception in thread \"[^\"]*\" )(?P<what>.+)")
_HINT_LIMIT: Final = 500


class Driver:
    """Both processes while they live, seen from the agent's event loop."""

    def __init__(self, spec: DriverSpec, launched: Launched) -> None:
        self._spec = spec
        self._launched = launched
        self._folder = Folder(Path(spec.run_dir))
        self.kernel_pid = launched.kernel.pid
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def watch(self) -> None:
        """From now on know at once when a child ends; orphans that come to us are reaped too."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        self._reap()

    async def lost(self) -> str:
        """Wait until the kernel or the JVM is gone; how it ended, as a sentence."""
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
            raise DriverLost(await self._why_not_started())
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

    async def _why_not_started(self) -> str:
        how = await self.lost()
        log = (
            self._folder.jvm_log
            if self._launched.jvm.returncode is not None
            else (self._folder.kernel_log)
        )
        if "signal" in how:
            # The log's last line has nothing to do with it.
            return how
        hint = important_line(log.read_text(errors="replace"))
        return f"{how} {hint}" if hint else how

    def _reap(self) -> None:
        """Collect every child that ended. ``Popen`` learns it here, not by waiting itself."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, returncode: int) -> None:
        for name, process in (
            ("Spark JVM", self._launched.jvm),
            ("Python kernel", self._launched.kernel),
        ):
            if process.pid == pid:
                process.returncode = returncode
                if not self._lost.done():
                    self._lost.set_result(f"The {name} {how_it_ended(returncode)}.")

    def interrupt(self, *, everyone: bool = False) -> None:
        """SIGINT to the kernel, or to its whole process group."""
        if self._launched.kernel.returncode is None:
            with suppress(ProcessLookupError):
                (os.killpg if everyone else os.kill)(self.kernel_pid, signal.SIGINT)

    def kill_kernel(self) -> None:
        if self._launched.kernel.returncode is None:
            kill(self.kernel_pid)

    async def stop(self) -> None:
        """End both processes and whatever they left behind. Repeated: no effect."""
        self.kill_kernel()
        if self._launched.jvm.stdin is not None:
            with suppress(OSError):
                self._launched.jvm.stdin.close()  # the gateway's end
        with suppress(TimeoutError):
            async with asyncio.timeout(_JVM_GRACE_S):
                while self._launched.jvm.returncode is None:
                    await asyncio.sleep(0.01)
                    self._reap()
        kill_leftovers(self._spec.driver_id)
        self._reap()

    def trim_logs(self) -> None:
        """Keep the logs of a talkative session small. The writers append, so cutting is safe."""
        for log in (self._folder.jvm_log, self._folder.kernel_log):
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

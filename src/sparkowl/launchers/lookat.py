"""A look at a driver's processes while they live: how large they are, and what they are doing.

It changes nothing: the two signals make a JVM and a Python kernel write where their threads are,
each into its own log, and go on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.launchers import processes
from sparkowl.launchers.postmortem import tail

#: The same as ``sparkowl.agent.kernel`` has them.
DUMP_SIGNAL: Final = signal.SIGURG
DUMP_DESCRIPTOR: Final = 250
_DUMP_BYTES: Final = 1 << 20
#: For a dump to begin, and to be still when it is over.
_PATIENCE_S: Final = 3.0
_STILL_S: Final = 0.3


def table(driver_id: str, folder: Path) -> list[dict[str, Any]]:
    """The driver's processes. Command lines may hold what is nobody's business: only names."""
    found = [_process(pid) for pid in sorted(processes.of_driver(driver_id, folder))]
    return [process for process in found if process is not None]


def _process(pid: int) -> dict[str, Any] | None:
    place = processes.PROC / str(pid)
    try:
        status = _fields((place / "status").read_text())
        arguments = (place / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    pss: int | None = None
    with suppress(OSError, KeyError, ValueError):
        pss = int(_fields((place / "smaps_rollup").read_text())["Pss"].split()[0])
    return {
        "pid": pid,
        "parent": int(status["PPid"]),
        "name": status["Name"],
        "is": _role(arguments),
        "state": status["State"],
        "threads": int(status["Threads"]),
        "rss_kib": int(status.get("VmRSS", "0 kB").split()[0]),
        "pss_kib": pss,
        "started_at_ticks": processes.started_at(pid),
    }


def _role(arguments: list[bytes]) -> str | None:
    if b"sparkowl.agent" in arguments[:4]:
        return "agent"
    if b"sparkowl.agent.kernel" in arguments[:5]:
        return "kernel"
    return "jvm" if b"org.apache.spark.deploy.SparkSubmit" in arguments else None


def _fields(text: str) -> Mapping[str, str]:
    return {
        name: value.strip()
        for name, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }


def thread_dumps(found: list[dict[str, Any]], folder: Path) -> dict[str, bytes]:
    """Where the threads of the JVM and of the kernel are, by name of the process."""
    agents = {process["pid"] for process in found if process["is"] == "agent"}
    dumps = {}
    for name, number in (("jvm", signal.SIGQUIT), ("kernel", DUMP_SIGNAL)):
        for process in found:
            # Not a program of user code's that only looks like it.
            if process["is"] == name and process["parent"] in agents:
                log = folder / f"{name}.log"
                if _listens(process["pid"], log, number):
                    dumps[name] = _dump(process["pid"], log, number)
    return dumps


def _listens(pid: int, log: Path, number: signal.Signals) -> bool:
    """Whether the signal makes a dump: else it might end the process, or reach user code."""
    place = processes.PROC / str(pid)
    try:
        caught = int(_fields((place / "status").read_text())["SigCgt"], 16)
        wanted = "1" if number == signal.SIGQUIT else str(DUMP_DESCRIPTOR)
        behind = (place / "fd" / wanted).readlink()
    except (OSError, KeyError, ValueError):
        return False
    return bool(caught >> (number - 1) & 1) and behind == log.resolve()


def _dump(pid: int, log: Path, number: signal.Signals) -> bytes:
    """What is written to the log from now on, until nothing more comes."""
    try:
        before = log.stat().st_size
        os.kill(pid, number)
        began = changed = time.monotonic()
        size = before
        while (now := time.monotonic()) < began + _PATIENCE_S:
            time.sleep(0.02)
            if (grown := log.stat().st_size) != size:
                size, changed = grown, now
            elif size != before and now > changed + _STILL_S:
                break
        return tail(log, min(size - before, _DUMP_BYTES)) if size > before else b""
    except OSError:
        return b""

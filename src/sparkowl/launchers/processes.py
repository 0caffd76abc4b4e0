"""The processes of a driver, found by its tag in /proc.

Every process of a driver inherits ``SPARKOWL_DRIVER=<driver id>``, also those that user code
forks, so they are found when the agent is not there to name its children.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

TAG: Final = "SPARKOWL_DRIVER"
PROC: Final = Path("/proc")


def of_driver(driver_id: str, folder: Path) -> list[int]:
    """The ids of the driver's living processes: by its mark, its tag, or its folder as theirs.

    User code may clear its environment and go elsewhere; the mark, a hard limit that the agent
    sets, it can neither see as one nor shed (:func:`sparkowl.agent.processes.mark`). Where that
    does not hold (no sandbox at all), one that does all three is not found.
    """
    tag = f"{TAG}={driver_id}".encode()
    mark = f" {mark_of(driver_id)} ".encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            ours = mark in (entry / "limits").read_bytes() or _stands_out(entry, tag, folder)
            # A zombie keeps its limits, and lives no more.
            if ours and started_at(int(entry.name)) is not None:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def mark_of(driver_id: str) -> int:
    """The driver's own number; the same as the agent's, which is a program of its own."""
    return int.from_bytes(hashlib.sha256(driver_id.encode()).digest()[:7], "big") | 1 << 56


def _stands_out(entry: Path, tag: bytes, folder: Path) -> bool:
    """By what the process itself could have changed."""
    tagged = tag in (entry / "environ").read_bytes().split(b"\0")
    return tagged or (entry / "cwd").readlink().is_relative_to(folder)


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie.

    With the pid it names a process for ever: pids are used again, start times are not.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command may hold blanks and brackets; the fields begin behind its last bracket.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


async def ended(pid: int, seconds: float) -> None:
    """Return when the process has ended, or after ``seconds``."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(watch, over.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await over.wait()
    finally:
        loop.remove_reader(watch)
        os.close(watch)

"""The processes of a driver, found by its tag in /proc.

Every process of a driver inherits ``SPARKOWL_DRIVER=<driver id>``, also those that user code
forks, so they are found when the agent is not there to name its children.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

TAG: Final = "SPARKOWL_DRIVER"
PROC: Final = Path("/proc")


def of_driver(driver_id: str, folder: Path) -> list[int]:
    """The ids of the driver's living processes: by its tag, or by its folder as theirs.

    User code may start a program with an empty environment; that one is still found where it
    stands. One that does both, clears its environment and goes elsewhere, is not.
    """
    return of_drivers({driver_id: folder})[driver_id]


def of_drivers(folders: Mapping[str, Path]) -> Mapping[str, list[int]]:
    """:func:`of_driver` for each of several drivers, in one look at all processes."""
    tags = {f"{TAG}={driver_id}".encode(): driver_id for driver_id in folders}
    found: dict[str, list[int]] = {driver_id: [] for driver_id in folders}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            # One that just ended, or somebody else's.
            with suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0")
                at = (entry / "cwd").readlink()
                theirs = {tags[variable] for variable in variables if variable in tags}
                theirs |= {of for of, folder in folders.items() if at.is_relative_to(folder)}
                for driver_id in theirs:
                    found[driver_id].append(int(entry.name))
    return found


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

"""The processes of a driver, found by its signs in /proc.

Every process of a driver inherits them, also those that user code forks, so they are found when the
agent is not there to name its children.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sparkowl.agent.signs import FOLDER, as_in_proc, mark_of, real

PROC: Final = Path("/proc")


def of_driver(driver_id: str, folder: Path) -> list[int]:
    """The ids of the driver's living processes: by its mark, by its tag and folder, or as they
    stand in its folder.

    User code may clear its environment and go elsewhere; the mark, a hard limit that the agent
    sets, it can neither see as one nor shed (:func:`sparkowl.agent.processes.mark`). Where that
    does not hold (no sandbox at all), one that does all three is not found.
    """
    return of_drivers({driver_id: folder})[driver_id]


def of_drivers(folders: Mapping[str, Path]) -> Mapping[str, list[int]]:
    """:func:`of_driver` for each of several drivers, in one look at all processes."""
    signs = {driver_id: _Signs(driver_id, folder) for driver_id, folder in folders.items()}
    found: dict[str, list[int]] = {driver_id: [] for driver_id in folders}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            # One that just ended, or somebody else's.
            with suppress(OSError):
                for driver_id in _whose(entry, signs):
                    found[driver_id].append(int(entry.name))
    return found


class _Signs:
    """What a driver's processes are known by."""

    def __init__(self, driver_id: str, folder: Path) -> None:
        self.folder = real(folder)
        self.mark = f" {mark_of(folder)} ".encode()
        self.tags = as_in_proc(driver_id, folder)


def _whose(entry: Path, signs: Mapping[str, _Signs]) -> list[str]:
    limits = (entry / "limits").read_bytes()
    theirs = [driver_id for driver_id, sign in signs.items() if sign.mark in limits]
    if not theirs:
        # By what the process itself could have changed.
        variables = set((entry / "environ").read_bytes().split(b"\0"))
        at = (entry / "cwd").readlink()
        theirs = [
            driver_id
            for driver_id, sign in signs.items()
            if sign.tags <= variables or at.is_relative_to(sign.folder)
        ]
    # A zombie keeps its limits, and lives no more.
    return theirs if theirs and started_at(int(entry.name)) is not None else []


def belongs(pid: int, folder: Path) -> bool:
    """Whether a process is one of the driver that has this folder, and not of another's copy.

    A folder that was moved with its data directory is still where its processes stand.
    """
    place = PROC / str(pid)
    try:
        if _folder_tag(folder) in (place / "environ").read_bytes().split(b"\0"):
            return True
        return (place / "cwd").readlink().is_relative_to(real(folder))
    except OSError:
        return False


def _folder_tag(folder: Path) -> bytes:
    return os.fsencode(f"{FOLDER}={real(folder)}")


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

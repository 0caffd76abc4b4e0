"""Faults: each is begun, lasts for a while, and is over; then everything must come right."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from faults.world import World

HOUR_S = 3600.0
DELAY_S = 0.5


class Act(Protocol):
    #: Whether it lasts, or is over at once.
    lasts: bool

    def begin(self, world: World, driver: str) -> None: ...

    def end(self, world: World) -> None: ...


class Kill:
    lasts = False

    def __init__(self, part: str) -> None:
        self._part = part

    def begin(self, world: World, driver: str) -> None:
        if self._part == "server":
            world.kill()
        else:
            os.kill(world.part(driver, self._part), signal.SIGKILL)

    def end(self, world: World) -> None:
        if self._part == "server":
            world.start()


class Freeze:
    lasts = True

    def __init__(self, part: str) -> None:
        self._part = part
        self._pid = 0

    def begin(self, world: World, driver: str) -> None:
        self._pid = world.part(driver, self._part)
        os.kill(self._pid, signal.SIGSTOP)

    def end(self, world: World) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)


class CutLink:
    lasts = True

    def begin(self, world: World, driver: str) -> None:
        world.proxy.cut()

    def end(self, world: World) -> None:
        world.proxy.mend()


class DelayLink:
    lasts = True

    def begin(self, world: World, driver: str) -> None:
        world.proxy.delay_s = DELAY_S

    def end(self, world: World) -> None:
        world.proxy.delay_s = 0


class FullDisk:
    lasts = True

    def begin(self, world: World, driver: str) -> None:
        with (world.data_dir / "filler").open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def end(self, world: World) -> None:
        (world.data_dir / "filler").unlink()


class NoRights:
    lasts = True

    def begin(self, world: World, driver: str) -> None:
        world.data_dir.chmod(0)

    def end(self, world: World) -> None:
        world.data_dir.chmod(0o700)


class MoveClock:
    lasts = False

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def begin(self, world: World, driver: str) -> None:
        world.move_clock(self._seconds)

    def end(self, world: World) -> None:
        """It stays where it is."""


class LockDatabase:
    lasts = True

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread

    def begin(self, world: World, driver: str) -> None:
        # In a thread: at some points the server holds the lock itself, and must go on first.
        path = world.data_dir / "sparkowl.db"
        self._thread = threading.Thread(target=self._hold, args=(path,))
        self._thread.start()

    def _hold(self, path: Path) -> None:
        database = sqlite3.connect(path, timeout=20, isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        self._over.wait()
        database.execute("ROLLBACK")
        database.close()

    def end(self, world: World) -> None:
        self._over.set()
        self._thread.join()


def of(fault: str) -> Act:
    """The fault of this name."""
    what, _, part = fault.partition(" ")
    if what == "kill":
        return Kill(part)
    if what == "freeze":
        return Freeze(part)
    if what == "clock":
        return MoveClock(HOUR_S if part == "forward" else -HOUR_S)
    others: dict[str, type[Act]] = {
        "cut link": CutLink,
        "delay link": DelayLink,
        "full disk": FullDisk,
        "no rights": NoRights,
        "lock database": LockDatabase,
    }
    return others[fault]()

"""How much memory a driver's processes use together, for where no control group holds them to it.

Resident sizes are cheap to read and count shared pages once for each process; proportional sizes
are right and slow. So the second are only asked for when the first are over the limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MIB: Final = 1 << 20

#: How often to look at the processes that are known, and for new ones.
LOOK_EVERY_S: Final = 0.25
_FAMILY_EVERY_S: Final = 1.0
#: Shared pages may become private without any resident size growing.
_MEASURE_AGAIN_AFTER_S: Final = 1.0


def family(pid: int, proc: Path = _PROC) -> Iterator[int]:
    """A process and all below it; orphans are below whoever adopts them."""
    waiting = [pid]
    seen = set()
    while waiting:
        parent = waiting.pop()
        if parent in seen:
            continue
        seen.add(parent)
        yield parent
        with suppress(OSError):
            # Children belong to the thread that made them.
            for thread in (proc / str(parent) / "task").iterdir():
                with suppress(OSError):
                    waiting += map(int, (thread / "children").read_text().split())


def resident(pid: int, proc: Path = _PROC) -> int:
    """Bytes that a process has in memory, shared ones included; 0 for one that is gone."""
    try:
        with open(f"{proc}/{pid}/statm") as file:  # noqa: PTH123 - several times a second
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def proportional(pid: int, proc: Path = _PROC) -> int:
    """Bytes with each shared page divided among those who share it; resident ones where another
    user's process does not tell."""
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return resident(pid, proc)
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return resident(pid, proc)


def oom_kills(file: Path = _PROC / "vmstat") -> int:
    """How many processes the kernel has killed for want of memory, on the whole machine."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def killed_in_group(group: str | None) -> bool:
    """Whether the kernel killed somebody in the control group for its limit."""
    if group is None:
        return False
    with suppress(OSError):
        for line in (Path(group) / "memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return line.split()[1] != "0"
    return False


@dataclass
class Watch:
    """Looks at a family; says once it uses more than it may."""

    limit: int
    #: Of the processes, whenever it is asked.
    members: Callable[[], Iterable[int]]
    proc: Path = _PROC
    clock: Callable[[], float] = time.monotonic
    _known: list[int] = field(default_factory=list)
    _family_at: float = float("-inf")
    #: The last exact measure: when, what was resident then, and how much was left.
    _measured_at: float = float("-inf")
    _resident_then: int = 0
    _left_then: int = 0

    def over(self) -> int | None:
        """How many bytes are used, where they are too many; None: they are not."""
        now = self.clock()
        if now - self._family_at >= _FAMILY_EVERY_S:
            self._known, self._family_at = list(self.members()), now
        used = sum(resident(pid, self.proc) for pid in self._known)
        if used <= self.limit or not self._may_have_changed(used, now):
            return None
        # Not of those that ended since, whose numbers may be a stranger's by now.
        self._known, self._family_at = list(self.members()), now
        exact = sum(proportional(pid, self.proc) for pid in self._known)
        self._measured_at, self._resident_then = now, used
        self._left_then = self.limit - exact
        return exact if exact > self.limit else None

    def _may_have_changed(self, used: int, now: float) -> bool:
        grown = used - self._resident_then
        return grown >= self._left_then or now - self._measured_at >= _MEASURE_AGAIN_AFTER_S


def too_much(used: int, limit: int) -> str:
    """The sentence for the user."""
    return (
        f"Its processes used {used // _MIB} MiB of memory together, "
        f"and {limit // _MIB} MiB are allowed."
    )

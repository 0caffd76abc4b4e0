"""Control groups (version 2): one for each driver, where this machine lets us have them.

We take no group that nobody gave us. One was given when the server runs in a group named
``server`` whose parent it may write to: systemd's ``Delegate=memory`` with
``DelegateSubgroup=server`` makes exactly that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
#: The group that the server itself is in.
SERVER: Final = "server"
#: Killed processes leave their group as they are reaped.
_EMPTY_WITHIN_S: Final = 2.0


class Groups:
    """The drivers' groups below ``base``; none where that is None."""

    def __init__(self, base: Path | None) -> None:
        self.base = base

    def make(self, driver_id: str, memory_limit: int) -> Path | None:
        """A group that holds its processes to a limit in bytes; None where it cannot be had.

        One process over the limit ends them all: half a driver is no use.
        """
        group = self._of(driver_id)
        if group is None or not memory_limit:
            return None
        try:
            group.mkdir(exist_ok=True)
            (group / "memory.max").write_text(str(memory_limit))
            (group / "memory.oom.group").write_text("1")
        except OSError:
            self.remove(driver_id)
            return None
        return group

    def members(self, driver_id: str) -> Sequence[int]:
        """The processes in the driver's group."""
        group = self._of(driver_id)
        if group is None:
            return []
        try:
            return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def remove(self, driver_id: str) -> None:
        """Kill what is in the driver's group, all at once, and remove it. No group: no effect."""
        group = self._of(driver_id)
        if group is None or not group.is_dir():
            return
        with suppress(OSError):
            (group / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + _EMPTY_WITHIN_S
        while self.members(driver_id) and time.monotonic() < deadline:
            time.sleep(0.01)
        # Its files are the kernel's and go with it.
        with suppress(OSError):
            group.rmdir()

    def _of(self, driver_id: str) -> Path | None:
        return None if self.base is None else self.base / f"driver-{driver_id}"


def delegated(root: Path = _ROOT, own: Path = _OWN) -> Path | None:
    """The group that is ours to divide, its memory controller turned on; None: there is none."""
    try:
        name = own.read_text().rpartition("::")[2].strip().lstrip("/")
        group = root / name
        base = group.parent
        if group.name != SERVER or "memory" not in (base / "cgroup.controllers").read_text():
            return None
        control = base / "cgroup.subtree_control"
        if "memory" not in control.read_text().split():
            control.write_text("+memory")
    except OSError:
        return None
    return base

"""What this machine has left for another driver: memory and disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
_MIB: Final = 1024 * 1024


def lacks(folder: Path, *, memory: int, disk: int, meminfo: Path = _MEMINFO) -> str | None:
    """Which of the two is short, as a phrase with both numbers; None: both are there.

    ``folder`` need not exist yet; its file system is the one that is asked.
    """
    free = available_memory(meminfo)
    if free < memory:
        return f"{memory // _MIB} MiB of memory are needed and {free // _MIB} MiB available"
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < disk:
        return f"{disk // _MIB} MiB of disk are needed and {free // _MIB} MiB free"
    return None


def available_memory(
    meminfo: Path = _MEMINFO, groups: Path = _GROUPS, own_group: Path = _OWN_GROUP
) -> int:
    """Bytes that new processes can have without swapping: of the machine, or of our own control
    group where that has less (a container's limit)."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return min([int(line.split()[1]) * 1024, *_left_in_groups(groups, own_group)])
    raise ValueError(f"{meminfo} does not say MemAvailable")


def _left_in_groups(groups: Path, own_group: Path) -> Iterator[int]:
    """What the limits of control groups (version 2) leave, from our own up to the root."""
    try:
        own = own_group.read_text().rpartition("::")[2].strip()
    except OSError:
        return
    folder = groups / own.lstrip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(groups):
            return
        try:
            limit = int((group / "memory.max").read_text())
            yield limit - int((group / "memory.current").read_text()) + _reclaimable(group)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue


def _reclaimable(group: Path) -> int:
    """The file cache that the kernel drops when memory is wanted."""
    for line in (group / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0

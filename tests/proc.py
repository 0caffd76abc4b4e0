"""What ``/proc`` tells of processes that may end, or close what they have open, at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def read(file: Path) -> str:
    """Empty for what has ended since it was listed."""
    try:
        return file.read_text()
    except OSError:
        return ""


def command_of(pid: int) -> str:
    """The command line, its words between blanks."""
    return read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in tasks for child in read(file).split()]


def opened_by(pid: int) -> Iterator[Path]:
    """What a process holds open: files, and ``socket:[inode]`` for a socket."""
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield descriptor.readlink()

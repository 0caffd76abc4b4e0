"""What is kept of a driver that has ended: the ends of its logs, and how it ended.

Its folder is deleted with it. This little is put aside before, for whoever asks later why. Files
there may have been replaced by user code where nothing keeps it from that, so none is followed
where it is a link, waited for where it is a pipe, or read further than a bound.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.messages import Cell
from sparkowl.launchers import remains

#: The agent's own files in a driver's folder.
LOGS: Final = ("agent.log", "kernel.log", "jvm.log", "jupyter.log")
EXIT: Final = "exit.json"
#: Written here: how the agent's process ended, and what it had not told the server yet.
END: Final = "end.json"
#: Of each log.
TAIL_BYTES: Final = 256 << 10
_FACTS: Final = 100
_ASIDE: Final = ".new-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Where, and how much at most; the oldest go first."""

    folder: Path
    drivers: int
    size_bytes: int


def keep(run_dir: Path, driver_id: str, end: dict[str, Any], rule: Keep) -> None:
    """Put aside what matters of a driver's folder, once; OSError where that is not possible."""
    target = rule.folder / driver_id
    if rule.drivers == 0 or target.exists() or not run_dir.is_dir():
        return
    rule.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = rule.folder / f"{_ASIDE}{driver_id}.{secrets.token_hex(4)}"
    aside.mkdir(mode=0o700)
    try:
        for name in (*LOGS, EXIT):
            with suppress(OSError):  # there is none, or it is no plain file
                (aside / name).write_bytes(tail(run_dir / name))
        end = end | {"unacknowledged": unacknowledged(run_dir)}
        (aside / END).write_text(json.dumps(end) + "\n")
        with suppress(OSError):  # somebody else was faster
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    prune(rule)


def prune(rule: Keep) -> None:
    """Delete the oldest until the rest is within the bounds, and what a crash left half."""
    with suppress(FileNotFoundError):
        for half in rule.folder.glob(f"{_ASIDE}*"):
            # One that another thread is writing is younger.
            with suppress(OSError):
                if half.stat().st_mtime < rule.folder.stat().st_mtime - 60:
                    shutil.rmtree(half, ignore_errors=True)
        left = rule.size_bytes
        kept = [entry for entry in rule.folder.iterdir() if not entry.name.startswith(".")]
        for number, entry in enumerate(sorted(kept, key=_age, reverse=True)):
            left -= _size(entry)
            if number >= rule.drivers or left < 0:
                shutil.rmtree(entry, ignore_errors=True)


def _age(entry: Path) -> float:
    with suppress(OSError):
        return entry.stat().st_mtime
    return 0


def _size(entry: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in entry.iterdir())
    return 0


def tail(file: Path, limit: int = TAIL_BYTES) -> bytes:
    """The end of a plain file; OSError for anything else."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{file.name} is not a plain file")
        return os.pread(descriptor, limit, max(found.st_size - limit, 0))
    finally:
        os.close(descriptor)


def unacknowledged(run_dir: Path) -> list[Any]:
    """The facts in the agent's outbox, without code: what it had seen and the server had not."""
    facts = []
    for frame in remains.facts(run_dir.parent, run_dir.name)[:_FACTS]:
        with suppress(ValueError, RecursionError):
            facts.append(_without_code(json.loads(frame)))
    return facts


def _without_code(fact: Any) -> Any:
    """A cell's is its user's, and may be longer than all the rest that is kept."""
    if isinstance(fact, dict) and fact.get("kind") == Cell.kind:
        return {name: value for name, value in fact.items() if name != "code"}
    return fact

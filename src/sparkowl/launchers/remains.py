"""What a driver that has ended left in its folder: facts nobody took, outputs nobody stored.

The folder was the driver's while it lived, and without confinement user code may have put anything
there. So the way down is walked one ``openat`` at a time that refuses links, and only plain files
of the server's own user, of a size that an agent writes, are read. Nothing in here can fail a
session's end: what cannot be read is not there. Only the server's own folder of drivers is another
matter: while that is out of reach, OSError, and the end is tried again.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from sparkowl.domain.calculation import OUTPUT_NAMES

log = logging.getLogger(__name__)

_BASE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER: Final = _BASE | os.O_NOFOLLOW
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: A fact is a few lines; so many of them are more than an agent gathers in twelve hours. A cell's
#: has its code: one that is longer is not missed, as nobody waits for it any more.
_LARGEST_FACT_BYTES: Final = 1 << 20
_MOST_ENTRIES: Final = 10_000


def facts(drivers_dir: Path, driver_id: str) -> Sequence[str]:
    """The frames in the driver's outbox, in the order in which they happened."""
    found = []
    with _folder(drivers_dir, driver_id, "outbox") as outbox:
        for name in sorted(_names(outbox)):
            content = _read(outbox, name, _LARGEST_FACT_BYTES) if name.endswith(".json") else None
            if content is not None:
                found.append(content.decode("utf-8", "replace"))
    return found


def calculations(drivers_dir: Path, driver_id: str) -> Sequence[str]:
    """The calculations of which outputs are left in the driver's spool."""
    with _folder(drivers_dir, driver_id, "spool") as spool:
        return sorted(_names(spool))


def outputs(
    drivers_dir: Path, driver_id: str, calculation_id: str, limit_bytes: int
) -> Mapping[str, bytes]:
    """What is left of a calculation's outputs, by name."""
    found = {}
    with _folder(drivers_dir, driver_id, "spool", calculation_id) as folder:
        for name in OUTPUT_NAMES:
            content = _read(folder, name, limit_bytes)
            if content is not None:
                found[name] = content
    return found


@contextmanager
def _folder(base: Path, *names: str) -> Iterator[int | None]:
    """A folder below ``base``; None where there is no such, or a link on the way from there.

    ``base`` is the operator's, who may have put it on another disk.
    """
    try:
        folder = os.open(base, _BASE)
    except FileNotFoundError:
        yield None
        return
    try:
        for name in names:
            below = _step(folder, name)
            if below is None:
                yield None
                return
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def _step(folder: int, name: str) -> int | None:
    if name in {"", ".", ".."} or "/" in name:
        return None
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("not a folder of a driver", extra={"entry": name, "why": str(error)})
        return None


def _names(folder: int | None) -> Sequence[str]:
    if folder is None:
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _MOST_ENTRIES)]


def _read(folder: int | None, name: str, limit_bytes: int) -> bytes | None:
    if folder is None:
        return None
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("left by a driver, not read", extra={"entry": name, "why": str(error)})
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        plain = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not plain or found.st_size > limit_bytes:
            log.warning("left by a driver, not an agent's file", extra={"entry": name})
            return None
        return file.read(limit_bytes)

"""What the processes of a driver are known by, for those who set it and those who look for it.

Beside :mod:`.messages` the one module of the room that the server imports: standard library only.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

#: Set for an agent by its launcher and inherited by everything below it: this is how the processes
#: of a driver are found again after any crash.
TAG: Final = "SPARKOWL_DRIVER"
#: Beside it: the driver's folder. A data directory that was copied, or restored from a backup,
#: names the same drivers, and its server must not take those of the original for its own.
FOLDER: Final = "SPARKOWL_DRIVER_FOLDER"

#: The folder, in the driver's, of its Jupyter server and of that server's socket.
JUPYTER: Final = "jupyter"


def real(folder: Path) -> Path:
    """The one name of a driver's folder, whatever links lead there; it is none itself."""
    return folder.parent.resolve() / folder.name


def mark_of(folder: Path) -> int:
    """The number of the driver that has this folder: a hard limit that user code cannot shed
    (:func:`sparkowl.agent.processes.mark`)."""
    place = os.fsencode(real(folder))
    return int.from_bytes(hashlib.sha256(place).digest()[:7], "big") | 1 << 56


def variables(driver_id: str, folder: Path) -> dict[str, str]:
    """What stands in the environment of each of its processes."""
    return {TAG: driver_id, FOLDER: str(real(folder))}


def as_in_proc(driver_id: str, folder: Path) -> set[bytes]:
    """The same as ``/proc/<pid>/environ`` has it, between its zeros."""
    given = variables(driver_id, folder)
    return {os.fsencode(f"{name}={value}") for name, value in given.items()}

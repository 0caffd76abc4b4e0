"""Folders in the data directory that live as long as a command: for what becomes whole there."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def aside(data_dir: Path, prefix: str) -> Iterator[Path]:
    """A folder of this command's own, deleted at its end; and those that killed ones left, now.

    A command keeps its folder locked while it lives.
    """
    with _locked(data_dir, wait=True):
        for left in data_dir.glob(f"{prefix}*"):
            with suppress(OSError), _locked(left, wait=False):
                shutil.rmtree(left, ignore_errors=True)
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=data_dir)
        keep = os.open(made.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(keep, fcntl.LOCK_EX)
    try:
        with made as folder:
            yield Path(folder)
    finally:
        os.close(keep)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """OSError for one that is no folder, or that somebody has, where we do not wait."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(fd)

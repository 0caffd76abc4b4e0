"""Spark's class-data archive, made once: without it each driver loads its classes for seconds."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from sparkowl.agent import archive
from sparkowl.config.settings import default_cache_dir


@functools.cache
def _archive() -> Path:
    """The machine's own, which a first server on it makes as well."""
    return archive.make(default_cache_dir(), None).path


def cache() -> Path:
    """A cache with an archive that fits."""
    return _archive().parent


def copied(folder: Path) -> Path:
    """A cache of its own in ``folder``: drivers that run as other users cannot reach our home."""
    made = folder / "cache"
    made.mkdir(mode=0o700)
    shutil.copy(_archive(), made)
    return made

"""Jars for tests, fetched as users fetch them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_SPARKOWL: Final = str(Path(sys.executable).with_name("sparkowl"))
_UNREACHABLE: Final = ("not found", "Server access error", "timed out", "refused", "UnknownHost")


def fetch(name: str, *options: str, cache: Path | None = None) -> None:
    """Fetch jars, by default into the user's own cache, where the next run finds them; skip where
    no repository can be reached, but not in CI."""
    done = subprocess.run(
        [_SPARKOWL, "jars", "fetch", name, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env=os.environ | ({} if cache is None else {"SPARKOWL_CACHE_DIR": str(cache)}),
    )
    unreachable = any(word in done.stderr for word in _UNREACHABLE)
    if done.returncode != 0 and unreachable and "CI" not in os.environ:
        pytest.skip(f"no Maven repository can be reached: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr

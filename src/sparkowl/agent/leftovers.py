"""What is to be deleted, tried until it is: the rights to a folder may be gone for a while."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

_AGAIN_AFTER_S: Final = 1.0


class Leftovers:
    def __init__(self, again_after_s: float = _AGAIN_AFTER_S) -> None:
        self._again_after_s = again_after_s
        self._paths: set[Path] = set()
        self._timer: asyncio.TimerHandle | None = None

    def remove(self, path: Path) -> None:
        """Delete a file or a whole folder, now or as soon as that works. Never raises OSError."""
        self._paths.add(path)
        if self._timer is None:
            self._sweep()

    def _sweep(self) -> None:
        self._timer = None
        self._paths = {path for path in self._paths if not _is_gone(path)}
        if self._paths:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._again_after_s, self._sweep)


def _is_gone(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

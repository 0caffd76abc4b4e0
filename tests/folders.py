"""What lies in folders that others work in, where anything may go while it is looked at."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def modes_in(folder: Path) -> dict[Path, int]:
    """All that is below a folder, with its mode; of a link, the link's own. What goes is left out:
    ``Path.rglob`` raises for a folder that goes."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(OSError):
                path = Path(parent, name)
                found[path] = path.lstat().st_mode
    return found

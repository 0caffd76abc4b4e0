"""Whether a folder is still what was put there: the hash of every file in it, taken when it was
made and looked at again, cheaply, at each use."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

#: By path in the folder: size in bytes, time of the last change in nanoseconds, SHA-256.
Listing = Mapping[str, tuple[int, int, str]]


def take(folder: Path) -> dict[str, tuple[int, int, str]]:
    """The listing of a folder, whose files everybody may read from now on."""
    listing = {}
    for path, entry in _files(folder):
        mode = stat.S_IMODE(entry.st_mode)
        (folder / path).chmod(0o755 if mode & 0o100 else 0o644)
        listing[path] = (entry.st_size, entry.st_mtime_ns, _hash(folder / path))
    for holder, _, _ in os.walk(folder):
        Path(holder).chmod(0o755)
    return listing


def digest(listing: Listing) -> str:
    """One hash over names and contents."""
    total = hashlib.sha256()
    for path, (_, _, content) in sorted(listing.items()):
        total.update(f"{path}\0{content}\n".encode())
    return total.hexdigest()


def difference(folder: Path, listing: Listing) -> str | None:
    """A file that is not what the listing says, missing ones and further ones included; None: all
    are. Only what changed by its size or time is read."""
    seen = set()
    for path, entry in _files(folder):
        known = listing.get(path)
        if known is None or not stat.S_ISREG(entry.st_mode):
            return path
        size, changed_ns, content = known
        if entry.st_size != size:
            return path
        if entry.st_mtime_ns != changed_ns and _hash(folder / path) != content:
            return path
        seen.add(path)
    return next((path for path in sorted(listing) if path not in seen), None)


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything that is not a folder; a link is not followed, and so is none of the listing."""
    for holder, folders, names in os.walk(folder):
        for name in (*names, *(each for each in folders if (Path(holder) / each).is_symlink())):
            path = Path(holder) / name
            yield str(path.relative_to(folder)), path.lstat()


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

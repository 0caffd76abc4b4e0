"""Buckets that a group shares: the POSIX users that drivers run as.

One rule, and no setting that has to be handed around: in a folder whose set-group-ID bit is set,
whatever is made belongs to the folder's group and is open to it. Such a folder hands the bit on to
the folders below. The buckets' root is made one by :func:`share`; without that all stays private.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o660
FOLDER_MODE: Final = 0o2770
#: Bucket names are not for everyone: the root may be passed through, not listed.
ROOT_MODE: Final = 0o2710
PRIVATE_MODE: Final = 0o700

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def group_of(folder: int) -> int | None:
    """The group that shares an open folder; None: it is private."""
    found = os.fstat(folder)
    return found.st_gid if found.st_mode & stat.S_ISGID else None


def share_file(file: int, folder: int) -> None:
    """Open a file of ours to the group of the folder that it is about to appear in."""
    group = group_of(folder)
    if group is not None:
        # Somebody else's arrangement, with a group that this process may not give files to.
        with suppress(PermissionError):
            os.fchown(file, -1, group)
            os.fchmod(file, FILE_MODE)


def share_folder(folder: int) -> None:
    """Open a folder that was just made to the group that it has from the folder above."""
    if group_of(folder) is not None:
        os.fchmod(folder, FOLDER_MODE)


def share(root: Path, group: int) -> None:
    """Make every bucket the group's, with what is in it."""
    top = os.open(root, _FOLDER)
    try:
        with os.scandir(top) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in names:
            _share_tree(name, top, group)
        os.fchown(top, -1, group)
        os.fchmod(top, ROOT_MODE)
    finally:
        os.close(top)


def unshare(root: Path) -> bool:
    """Close a root that was shared; whether it was. What is in it is hidden by that."""
    if not root.stat().st_mode & stat.S_ISGID:
        return False
    root.chmod(PRIVATE_MODE)
    return True


def _share_tree(name: str, parent: int, group: int) -> None:
    """A folder and all below. Links are left alone: user code may have made them."""
    for _, _, files, folder in os.fwalk(name, dir_fd=parent, follow_symlinks=False):
        os.fchown(folder, -1, group)
        os.fchmod(folder, FOLDER_MODE)
        for file in files:
            _share_existing(file, folder, group)


def _share_existing(name: str, folder: int, group: int) -> None:
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError:  # a link, a socket, or gone
        return
    try:
        found = os.fstat(file)
        # A second name of the same file may be elsewhere: opening this one would open that one.
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(file, -1, group)
            os.fchmod(file, FILE_MODE | stat.S_IMODE(found.st_mode) & 0o110)
    finally:
        os.close(file)

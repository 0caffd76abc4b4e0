"""A folder that user code may write to, and that the agent puts files into.

The agent is not confined, user code is; and user code can move folders of its own away and plant
links under any name in them, at any moment. So the way down is walked once, one ``openat`` at a
time that refuses links; from then on the folder is its descriptor, wherever it was moved to; and no
name in it is ever opened for writing: what is put there comes by ``rename``, which replaces a link
and never follows one.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

#: O_PATH: a folder on the way down may be closed to reading.
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Landing:
    def __init__(self, path: Path) -> None:
        """Walk down, and make what is missing; OSError where a link or a file is in the way."""
        if not path.is_absolute() or ".." in path.parts:
            raise OSError(errno.EINVAL, f"{str(path)!r} is not a plain absolute path")
        self._fd: int | None = os.open("/", _FOLDER)
        try:
            for name in path.parts[1:]:
                below = _step_or_make(self._folder, name)
                os.close(self._folder)
                self._fd = below
        except OSError:
            self.close()
            raise

    @property
    def _folder(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "the folder was closed")
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def link(self, source: Path, name: str) -> None:
        """Let a file of the same file system appear under a name, replacing what is there."""

        def link(aside: str) -> None:
            with source.open("rb") as file:
                self._share(file.fileno())
            os.link(source, aside, dst_dir_fd=self._folder, follow_symlinks=False)

        self._land(link, name)

    def copy(self, source: Path, name: str) -> None:
        """Let a copy of a file appear under a name, complete, replacing what is there."""

        def copy(aside: str) -> None:
            new = os.open(aside, _NEW_FILE, 0o600, dir_fd=self._folder)
            with os.fdopen(new, "wb") as target, source.open("rb") as file:
                shutil.copyfileobj(file, target)
                target.flush()
                self._share(new)

        self._land(copy, name)

    def _share(self, file: int) -> None:
        group = _group_of(self._folder)
        if group is not None:
            # Somebody else's arrangement, with a group that this process may not give files to.
            with suppress(PermissionError):
                os.fchown(file, -1, group)
                os.fchmod(file, 0o660)

    def _land(self, make: Callable[[str], None], name: str) -> None:
        # A name that nobody can have planted anything under.
        aside = f".{name}.{secrets.token_hex(8)}"
        try:
            make(aside)
            os.rename(aside, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        finally:
            # Still there when something failed; and when both names were links to one file already,
            # for then a rename does nothing.
            with suppress(OSError):
                os.unlink(aside, dir_fd=self._folder)


def _step_or_make(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody else was faster
            os.mkdir(name, 0o700, dir_fd=folder)
            _share_folder(name, folder)
    except OSError as error:
        raise _in_the_way(error, name) from error
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise _in_the_way(error, name) from error


def _group_of(folder: int) -> int | None:
    """The group that shares a folder; None: it is private.

    As the server's own writing of objects has it: a bucket that is shared has the set-group-ID bit,
    and hands it on to whatever is made in it.
    """
    found = os.fstat(folder)
    return found.st_gid if found.st_mode & stat.S_ISGID else None


def _share_folder(name: str, parent: int) -> None:
    if _group_of(parent) is not None:
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            os.fchmod(made, 0o2770)
        finally:
            os.close(made)


def _in_the_way(error: OSError, name: str) -> OSError:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return OSError(error.errno, f"{name!r} is a link or a file where a folder should be")
    return error

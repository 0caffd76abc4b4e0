"""Walking down into a bucket without ever leaving it.

Code that runs on Spark may write into a bucket's folder, and so may plant a symbolic link there, at
any moment. No check of a path's text can see that, and a check of the resolved path comes too
early. So every step down is an ``openat`` that refuses links, and every act on a file names it
relative to the open folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sparkowl.objects import attributes
from sparkowl.objects.errors import KeyConflict, NoSuchBucket
from sparkowl.objects.keys import is_bucket_name, is_checksum
from sparkowl.objects.sharing import share_folder

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: opening a FIFO that somebody planted must not hang the thread.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What the kernel says where a step down is a file, a link, too long a name, or nothing.
_NOT_THERE: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


@contextmanager
def opened(root: Path, bucket: str, names: Sequence[str]) -> Iterator[int]:
    """The descriptor of a folder inside a bucket; FileNotFoundError where there is none."""
    fd = open_bucket(root, bucket)
    try:
        for name in names:
            below = _step(fd, name)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


@contextmanager
def made(root: Path, bucket: str, names: Sequence[str]) -> Iterator[int]:
    """As :func:`opened`, but makes what is missing; KeyConflict where an object is in the way."""
    fd = open_bucket(root, bucket)
    try:
        for name in names:
            below = _step_or_make(fd, name)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def open_bucket(root: Path, bucket: str) -> int:
    """The descriptor of a bucket's folder."""
    if is_bucket_name(bucket):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _translated_open(os.fspath(root / bucket), _FOLDER, None)
    raise NoSuchBucket(f"The specified bucket does not exist: {bucket[:80]!r}")


def open_file(folder: int, name: str) -> int:
    """The descriptor of a plain file; FileNotFoundError for anything else."""
    fd = _translated_open(name, _FILE, folder)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise FileNotFoundError(errno.ENOENT, "not a plain file", name)


def stray(folder: int) -> str | None:
    """A file or marker in a tree, relative to it; None where there are only empty folders.

    Hadoop's checksum files do not count: no client can see them, so none could delete them.
    """
    if attributes.is_stamped(folder):
        return ""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below = _step(folder, entry.name)
                try:
                    found = stray(below)
                finally:
                    os.close(below)
                if found is not None:
                    return f"{entry.name}/{found}"
            elif not is_checksum(entry.name):
                return entry.name
    return None


def remove(folder: int, name: str) -> None:
    """Remove a tree in which :func:`stray` found nothing; OSError when that is no longer so."""
    below = _step(folder, name)
    try:
        with os.scandir(below) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    remove(below, entry.name)
                elif is_checksum(entry.name):
                    os.unlink(entry.name, dir_fd=below)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=folder)


def _step(folder: int, name: str) -> int:
    return _translated_open(name, _FOLDER, folder)


def _step_or_make(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody else was faster
            os.mkdir(name, dir_fd=folder)
            os.fsync(folder)
            made = _step(folder, name)
            share_folder(made)
            return made
        return _step_or_make(folder, name)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise KeyConflict(
            f"{name!r} is an object here, or a link; as objects are plain files, nothing can lie "
            "below it."
        ) from error


def _translated_open(name: str, flags: int, folder: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        # ENXIO: a socket, or a FIFO that nobody reads.
        if error.errno in _NOT_THERE or error.errno == errno.ENXIO:
            raise FileNotFoundError(errno.ENOENT, "not there", name) from error
        raise

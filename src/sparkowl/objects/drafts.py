"""Objects being written: a file in the staging folder until it is complete, then a rename.

A reader sees the old object or the new one, never half of one, and a crash leaves nothing but a
file in the staging folder. That folder is outside every bucket, so that neither Spark nor a listing
finds what is not finished, and on the same file system, so that a rename is possible.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sparkowl.objects import attributes, folders
from sparkowl.objects.attributes import About
from sparkowl.objects.errors import KeyConflict, PreconditionFailed
from sparkowl.objects.keys import checksum_of
from sparkowl.objects.sharing import share_file

PREFIX: Final = "draft-"
#: How much of a file is in memory at a time.
BLOCK_BYTES: Final = 1 << 20
#: Python has it on Linux only.
_COPIES: Final = hasattr(os, "copy_file_range")
#: What kernels and file systems say that cannot copy by themselves; EPERM is a container's, EIO
#: that of some network file systems. A disk that really fails says so again to whoever reads.
_CANNOT_COPY: Final = frozenset(
    (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EIO)
)


class Draft:
    """A file of ours alone. Left without :meth:`place`, it is removed."""

    def __init__(self, staging: Path) -> None:
        self.path = staging / f"{PREFIX}{secrets.token_hex(16)}"
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._open = True
        self.size_bytes = 0
        #: What the object's ETag will be, where that is not the MD5.
        self.etag: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    @property
    def md5(self) -> bytes:
        """Of what was written so far."""
        return self._md5.digest()

    def write(self, block: bytes) -> None:
        """Append a block, and take it into the MD5."""
        self._md5.update(block)
        self._append(block)

    def append(self, source: int, size_bytes: int) -> None:
        """Append ``size_bytes`` of another open file; the MD5 does not take them in."""
        offset = 0
        while offset < size_bytes:
            copied = self._copy(source, offset, size_bytes - offset)
            if not copied:
                raise OSError(f"{self.path.name}: a source became shorter while it was copied")
            offset += copied

    def _copy(self, source: int, offset: int, size_bytes: int) -> int:
        """Copy some of another open file; how much it was."""
        if _COPIES:
            try:
                # In the kernel: four times as fast, and XFS and Btrfs only share the blocks.
                copied = os.copy_file_range(source, self._fd, size_bytes, offset)
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    raise
            else:
                if copied:  # some file systems say 0 where there is more
                    self.size_bytes += copied
                    return copied
        block = os.pread(source, min(BLOCK_BYTES, size_bytes), offset)
        self._append(block)
        return len(block)

    def _append(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size_bytes += len(block)

    def finish(self, about: About) -> None:
        """Attach what is known of the object, and return when all of it is on the disk."""
        attributes.stamp(self._fd, about, self.etag or self._md5.hexdigest())
        os.fsync(self._fd)

    def place(self, folder: int, name: str) -> None:
        """Become the file ``name``, in the place of any that is there."""
        share_file(self._fd, folder)
        _forget_checksum(folder, name)
        try:
            os.replace(self.path, name, dst_dir_fd=folder)
        except IsADirectoryError:
            _make_way(folder, name)
            os.replace(self.path, name, dst_dir_fd=folder)
        self._placed(folder)

    def place_new(self, folder: int, name: str) -> None:
        """Become the file ``name``; PreconditionFailed when there is one, however late it came."""
        share_file(self._fd, folder)
        _forget_orphan(folder, name)
        try:
            os.link(self.path, name, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as error:
            if not _is_folder(folder, name):
                raise PreconditionFailed(
                    "At least one of the pre-conditions you specified did not hold"
                ) from error
            _make_way(folder, name)
            os.link(self.path, name, dst_dir_fd=folder, follow_symlinks=False)
        self._placed(folder)

    def keep(self, path: Path) -> None:
        """Become another file of the staging folder."""
        os.fsync(self._fd)
        self.path.replace(path)
        self.discard()

    def discard(self) -> None:
        """Close the file, and remove it where it has not become an object. May be repeated."""
        if self._open:
            self._open = False
            os.close(self._fd)
            self.path.unlink(missing_ok=True)

    def _placed(self, folder: int) -> None:
        os.fsync(folder)
        self.discard()


def _forget_checksum(folder: int, name: str) -> None:
    """Remove what Hadoop wrote beside the old file: it would refuse the new one as corrupt.

    First, not last: in between, the old file is read without a check, which does no harm.
    """
    with suppress(OSError):  # none, or a name too long to have one
        os.unlink(checksum_of(name), dir_fd=folder)


def _forget_orphan(folder: int, name: str) -> None:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        _forget_checksum(folder, name)


def _is_folder(folder: int, name: str) -> bool:
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder))
    except OSError:
        return False
    return True


def _make_way(folder: int, name: str) -> None:
    """Remove the empty folders that deleted objects left behind; an object below is a conflict."""
    conflict = KeyConflict(
        f"There are objects below {name + '/'!r}; as objects are plain files, none can have that "
        "name itself."
    )
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if folders.stray(below) is not None:
            raise conflict
    finally:
        os.close(below)
    try:
        folders.remove(folder, name)
    except OSError as error:
        raise conflict from error

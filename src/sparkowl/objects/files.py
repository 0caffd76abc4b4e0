"""Buckets and objects as folders and files: ``<root>/<bucket>/<path of the key>``.

All of object storage but two things: pages of keys are walked in :mod:`.listings`, and multipart
uploads live in :mod:`.uploads`. Every method blocks, and may be called from any thread.

Not done: versions, tags, access lists, locks. Removing an object never removes its folder: Spark
may be about to write there.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sparkowl.objects import attributes, folders
from sparkowl.objects.attributes import About, Entry
from sparkowl.objects.drafts import PREFIX, Draft
from sparkowl.objects.errors import (
    BucketAlreadyExists,
    BucketNotEmpty,
    KeyConflict,
    NoSuchKey,
    ObjectError,
    PreconditionFailed,
)
from sparkowl.objects.keys import (
    check_bucket_name,
    checksum_of,
    is_bucket_name,
    is_marker,
    segments_of,
)
from sparkowl.objects.listings import Node, Page, Walk, gather
from sparkowl.objects.sharing import share_folder

#: Writes to one key wait for each other, so that If-Match is decided on what is then replaced.
#: Keys share this many locks.
_LOCKS: Final = 64

_FAILED: Final = "At least one of the pre-conditions you specified did not hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must be true of the key at the moment a new object takes its place."""

    #: The ETag of the object that is there.
    if_match: str | None = None
    #: There is none.
    if_absent: bool = False


ANYWAY: Final = Condition()


class Reader:
    """An open object: what it was when it was opened, even when it is replaced meanwhile."""

    def __init__(self, fd: int, entry: Entry) -> None:
        self._fd = fd
        self.entry = entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to ``size_bytes`` from ``offset``; less only at the end."""
        return os.pread(self._fd, size_bytes, offset) if self._fd >= 0 else b""

    def close(self) -> None:
        """May be repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Files:
    """A store of buckets under one folder.

    ``staging`` holds what is not finished. It must be on the same file system as ``root``, outside
    every bucket, and nobody else's: whoever can write there can change what is about to appear.
    """

    def __init__(self, root: Path, staging: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root.resolve()
        self.staging = staging.resolve()
        if self.root.stat().st_dev != self.staging.stat().st_dev:
            raise ObjectError(f"{self.staging} must be on the same file system as {self.root}")
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    # --- buckets ------------------------------------------------------------------------------

    def buckets(self) -> dict[str, Path]:
        """Each bucket and its folder, sorted by name."""
        with os.scandir(self.root) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        return {name: self.root / name for name in sorted(names) if is_bucket_name(name)}

    def created_at(self, bucket: str) -> datetime:
        """When a bucket's folder was made, as nearly as a file system tells."""
        with folders.opened(self.root, bucket, ()) as fd:
            return datetime.fromtimestamp(int(os.fstat(fd).st_ctime), UTC)

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        check_bucket_name(name)
        try:
            (self.root / name).mkdir()
        except FileExistsError as error:
            raise BucketAlreadyExists(f"There is a bucket of that name: {name}") from error
        with folders.opened(self.root, name, ()) as fd:
            share_folder(fd)
        _sync(self.root)

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket in which there is nothing but empty folders."""
        with folders.opened(self.root, name, ()) as fd:
            left = folders.stray(fd)
        if left is not None:
            raise BucketNotEmpty(f"The bucket you tried to delete is not empty: it has {left!r}")
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folders.remove(root, name)
        except OSError as error:
            raise BucketNotEmpty("The bucket you tried to delete is being written to") from error
        finally:
            os.close(root)

    def folder(self, bucket: str) -> Path:
        """The folder of an existing bucket."""
        os.close(folders.open_bucket(self.root, bucket))
        return self.root / bucket

    # --- objects ------------------------------------------------------------------------------

    def path(self, bucket: str, key: str) -> Path:
        """Where a key's file is, or would be: for other programs, such as Spark, to open.

        A path is only words: a link may be planted after this look. Read and write through this
        class instead, which cannot be led out of the bucket.
        """
        folder = self.folder(bucket)
        path = folder.joinpath(*segments_of(key))
        if not path.resolve().is_relative_to(folder):
            raise KeyConflict("A symbolic link on the way leads out of the bucket.")
        return path

    def entry(self, bucket: str, key: str) -> Entry:
        """What is known of an object."""
        with self.open(bucket, key) as reader:
            return reader.entry

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object; NoSuchBucket where there is not even a bucket."""
        try:
            self.entry(bucket, key)
        except NoSuchKey:
            return False
        return True

    def open(self, bucket: str, key: str) -> Reader:
        """An object to read from."""
        names = segments_of(key)
        try:
            if is_marker(key):
                return self._open_marker(bucket, key, names)
            with self._opened(bucket, names[:-1]) as folder:
                fd = folders.open_file(folder, names[-1])
        except FileNotFoundError as error:
            raise NoSuchKey(f"The specified key does not exist: {key!r}") from error
        return Reader(fd, attributes.entry(fd, key))

    def _open_marker(self, bucket: str, key: str, names: Sequence[str]) -> Reader:
        with self._opened(bucket, names) as folder:
            entry = attributes.folder_entry(folder, key)
        if entry is None:
            raise NoSuchKey(f"The specified key does not exist: {key!r}")
        return Reader(-1, entry)

    def read_bytes(self, bucket: str, key: str) -> bytes:
        """The whole of a small object."""
        with self.open(bucket, key) as reader:
            return reader.read(0, reader.entry.size_bytes)

    def put_bytes(self, bucket: str, key: str, data: bytes, *, about: About | None = None) -> Entry:
        """Write a small object, in the place of any that is there."""
        with self.draft() as draft:
            draft.write(data)
            return self.commit(draft, bucket, key, about or About())

    def draft(self) -> Draft:
        """A file to write an object into, block by block, before :meth:`commit`."""
        return Draft(self.staging)

    def commit(
        self,
        draft: Draft,
        bucket: str,
        key: str,
        about: About,
        *,
        condition: Condition = ANYWAY,
    ) -> Entry:
        """Make a complete draft the object ``key``, all at once."""
        names = segments_of(key)
        if is_marker(key):
            self.check(bucket, key, condition)
            return self._mark(draft, bucket, key, about)
        draft.finish(about)
        with folders.made(self.root, bucket, names[:-1]) as folder, self._lock(bucket, key):
            if condition.if_absent:
                draft.place_new(folder, names[-1])
            else:
                if condition.if_match is not None:
                    self._check_match(bucket, key, condition.if_match)
                draft.place(folder, names[-1])
            return self.entry(bucket, key)

    def check(self, bucket: str, key: str, condition: Condition) -> None:
        """Refuse now what :meth:`commit` would refuse later, before a body is sent for nothing."""
        segments_of(key)
        os.close(folders.open_bucket(self.root, bucket))
        if condition.if_absent and self.exists(bucket, key):
            raise PreconditionFailed(_FAILED)
        if condition.if_match is not None:
            self._check_match(bucket, key, condition.if_match)

    def _check_match(self, bucket: str, key: str, etag: str) -> None:
        if etag not in ("*", self.entry(bucket, key).etag):
            raise PreconditionFailed(_FAILED)

    def _mark(self, draft: Draft, bucket: str, key: str, about: About) -> Entry:
        if draft.size_bytes:
            raise KeyConflict("A key that ends in '/' is a folder here, and holds no bytes.")
        with folders.made(self.root, bucket, segments_of(key)) as folder:
            attributes.stamp_folder(folder, about)
            entry = attributes.folder_entry(folder, key)
        if entry is None:  # no extended attributes, and not empty: nothing can mark it
            raise KeyConflict("This file system cannot mark a folder that is not empty.")
        return entry

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is removed already."""
        names = segments_of(key)
        with suppress(FileNotFoundError):
            if is_marker(key):
                self._unmark(bucket, names)
                return
            with self._opened(bucket, names[:-1]) as folder, self._lock(bucket, key):
                os.close(folders.open_file(folder, names[-1]))  # only plain files are objects
                os.unlink(names[-1], dir_fd=folder)
                with suppress(OSError):
                    os.unlink(checksum_of(names[-1]), dir_fd=folder)

    def _unmark(self, bucket: str, names: Sequence[str]) -> None:
        with self._opened(bucket, names) as folder:
            attributes.unstamp_folder(folder)
            still = attributes.folder_entry(folder, "") is not None
        if still:  # no extended attributes: being an empty folder is being a marker
            with suppress(OSError), self._opened(bucket, names[:-1]) as above:
                os.rmdir(names[-1], dir_fd=above)

    def list(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> Page:
        """The keys that begin with ``prefix`` and come after ``after``, in S3's order.

        With a delimiter, keys that have it after the prefix are rolled up into common prefixes.
        """
        os.close(folders.open_bucket(self.root, bucket))  # else no bucket looks like no keys
        walk = Walk(lambda names: self._opened(bucket, names), prefix=prefix, after=after)
        found = gather(walk, prefix=prefix, delimiter=delimiter, after=after, limit=limit + 1)
        kept = found[:limit]
        last = kept[-1] if kept and len(found) > limit else None
        return Page(
            entries=tuple(self._entries(bucket, [node for node in kept if isinstance(node, Node)])),
            prefixes=tuple(prefix for prefix in kept if isinstance(prefix, str)),
            next_after=last.key if isinstance(last, Node) else last,
        )

    def _entries(self, bucket: str, nodes: Sequence[Node]) -> Iterator[Entry]:
        for names, siblings in groupby(nodes, key=lambda node: node.folder):
            with suppress(FileNotFoundError), self._opened(bucket, names) as folder:
                for node in siblings:
                    entry = _entry(folder, node)
                    if entry is not None:
                        yield entry

    # --- below --------------------------------------------------------------------------------

    def clear_abandoned(self, before: datetime) -> int:
        """Remove drafts that nobody finished: how many were older than ``before``."""
        removed = 0
        for path in self.staging.glob(f"{PREFIX}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    removed += 1
        return removed

    def _opened(self, bucket: str, names: Sequence[str]) -> AbstractContextManager[int]:
        return folders.opened(self.root, bucket, names)

    def _lock(self, bucket: str, key: str) -> threading.Lock:
        return self._locks[zlib.crc32(f"{bucket}/{key}".encode()) % _LOCKS]


def _entry(folder: int, node: Node) -> Entry | None:
    """None for a file that went away since it was listed."""
    if not node.name:
        return attributes.folder_entry(folder, node.key)
    try:
        fd = folders.open_file(folder, node.name)
    except FileNotFoundError:
        return None
    try:
        return attributes.entry(fd, node.key)
    finally:
        os.close(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

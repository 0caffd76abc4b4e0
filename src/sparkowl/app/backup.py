"""A backup: one archive of everything that a data directory cannot make again.

The rows first, then the objects: so every output that a row names is there, unless somebody deleted
it. An archive is a tar, which any tool unpacks; its last member lists all others with their
checksums. It is written and read as a stream, in bounded memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from sqlalchemy import Connection

from sparkowl import __version__, credentials
from sparkowl.app.aside import aside
from sparkowl.config import CATALOG_FOLDER, Settings
from sparkowl.launchers import catalog, engines
from sparkowl.objects import folders
from sparkowl.objects.attributes import NAME as ATTRIBUTE
from sparkowl.store import snapshot

#: What a reader must know. It grows when an older SparkOwl could not restore the archive.
FORMAT: Final = 2

#: Names of members.
ABOUT: Final = "backup.json"
DATABASE: Final = "database.db"
CREDENTIALS: Final = credentials.FILE
SETTINGS: Final = "sparkowl.toml"
ENGINES: Final = "engines.json"
MANIFEST: Final = "manifest.jsonl"
BUCKETS: Final = "buckets"
STAGING: Final = "staging"
#: The shared catalogue's embedded database.
CATALOG: Final = f"{CATALOG_FOLDER}/metastore/derby"
#: In a member's header: the attribute of an object, and its time to the nanosecond.
PAX_ATTRIBUTE: Final = "SPARKOWL.object"
PAX_TIME: Final = "SPARKOWL.mtime_ns"

_ASIDE: Final = ".backup-"
#: Of the staging folder only multipart uploads survive a restart; drafts are a request's own.
_UPLOAD: Final = "upload-"
#: A path that is longer could not be put back. An object's key has 1,024 bytes at most.
_LONGEST: Final = 2_000
#: Fast, since most of it is compressed already (Parquet) or small.
_LEVEL: Final = 3


@dataclass(slots=True)
class Saved:
    """What a backup holds, for people."""

    objects: int = 0
    object_bytes: int = 0
    #: Files that were written to while they were read, or that cannot be in an archive.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the manifest: a member, and what of it must not change."""

    name: str
    size: int
    #: None for a folder.
    sha256: str | None
    mtime_ns: int
    attribute: str | None

    def text(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def write(
    settings: Settings,
    target: BinaryIO,
    read_rows: Callable[[Callable[[Connection], None]], None],
    *,
    compressed: bool,
    with_objects: bool,
) -> Saved:
    """Write the archive to ``target``. A server may run on the data directory meanwhile.

    ``read_rows`` calls what it is given with a connection that shows one state of the database.
    """
    with aside(settings.data_dir, _ASIDE) as folder:
        database, about = folder / DATABASE, _about(with_objects=with_objects)

        def save(connection: Connection) -> None:
            about["schema"] = snapshot.schema(connection)
            snapshot.save(connection, database)

        read_rows(save)
        with (
            _compressing(target, compressed=compressed) as stream,
            tarfile.open(
                fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape"
            ) as tar,
            (folder / MANIFEST).open("w+b") as manifest,
        ):
            writing = _Writing(tar, manifest)
            writing.text(ABOUT, json.dumps(about, indent=2) + "\n")
            writing.file(DATABASE, database)
            database.unlink()
            writing.file(CREDENTIALS, settings.data_dir / credentials.FILE)
            named = settings.config or settings.data_dir / SETTINGS
            if named.is_file():
                writing.file(SETTINGS, named)
            registered = [asdict(found) for found in engines.registered(settings.data_dir)]
            writing.text(ENGINES, json.dumps(registered, indent=2) + "\n")
            with catalog.saved(settings.data_dir / CATALOG_FOLDER) as tables:
                if tables is not None:
                    writing.folder(CATALOG, tables)
            if with_objects:
                for bucket in sorted(_folders(settings.data_dir / BUCKETS)):
                    writing.tree(settings.data_dir / BUCKETS, bucket, BUCKETS)
                for upload in sorted(_folders(settings.data_dir / STAGING)):
                    if upload.startswith(_UPLOAD):
                        writing.upload(settings.data_dir / STAGING / upload)
            writing.finish()
    return writing.saved


def _about(*, with_objects: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "sparkowl": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "objects": with_objects,
    }


@contextmanager
def _compressing(target: BinaryIO, *, compressed: bool) -> Iterator[BinaryIO | gzip.GzipFile]:
    if not compressed:
        yield target
        return
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=_LEVEL) as stream:
        yield stream


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


class _Writing:
    """Members on their way into the archive, each with its line in the manifest."""

    def __init__(self, tar: tarfile.TarFile, manifest: BinaryIO) -> None:
        self._tar = tar
        self._manifest = manifest
        self.saved = Saved()

    def text(self, name: str, content: str) -> None:
        encoded = content.encode()
        member = _member(name, tarfile.REGTYPE, 0o600, time.time_ns())
        member.size = len(encoded)
        self._add(member, io.BytesIO(encoded))

    def file(self, name: str, path: Path) -> None:
        """A file of the server's own."""
        with path.open("rb") as opened:
            self._open_file(name, opened.fileno())

    def folder(self, name: str, root: Path) -> None:
        """A folder of the server's own, with the plain files in it."""
        for path in sorted(root.rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                self.file(f"{name}/{path.relative_to(root)}", path)

    def upload(self, folder: Path) -> None:
        """A multipart upload; one that ended meanwhile is left out."""
        with suppress(FileNotFoundError):
            for part in sorted(folder.iterdir()):
                with suppress(FileNotFoundError):
                    self.file(f"{STAGING}/{folder.name}/{part.name}", part)

    def tree(self, root: Path, bucket: str, prefix: str) -> None:
        """A bucket. User code may plant links there, so each step down refuses them."""
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            names = waiting.pop()
            with (
                suppress(FileNotFoundError),  # deleted since it was listed
                folders.opened(root, bucket, names) as fd,
            ):
                self._folder("/".join((prefix, bucket, *names)), fd)
                waiting += [(*names, below) for below in self._entries(fd, (bucket, *names))]

    def _entries(self, fd: int, names: Sequence[str]) -> Iterator[str]:
        """Add the files of a folder; yield its folders."""
        with os.scandir(fd) as entries:
            for entry in entries:
                name = "/".join((BUCKETS, *names, entry.name))
                if len(os.fsencode(name)) > _LONGEST:
                    self.saved.notes.append(f"{name[:100]}...: the path is too long")
                elif entry.is_dir(follow_symlinks=False):
                    yield entry.name
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        self._object(name, fd, entry.name)
                else:
                    self.saved.notes.append(f"{name}: a link or a special file, left out")

    def _object(self, name: str, folder: int, file: str) -> None:
        fd = folders.open_file(folder, file)
        try:
            self.saved.object_bytes += self._open_file(name, fd)
            self.saved.objects += 1
        finally:
            os.close(fd)

    def _folder(self, name: str, fd: int) -> None:
        found = os.fstat(fd)
        member = _member(name, tarfile.DIRTYPE, found.st_mode, found.st_mtime_ns, _attribute(fd))
        self._tar.addfile(member)
        self._note(member, None)

    def _open_file(self, name: str, fd: int) -> int:
        found = os.fstat(fd)
        kind = tarfile.REGTYPE
        member = _member(name, kind, found.st_mode, found.st_mtime_ns, _attribute(fd))
        member.size = found.st_size
        with os.fdopen(os.dup(fd), "rb") as opened:
            self._add(member, opened)
        if os.fstat(fd).st_mtime_ns != found.st_mtime_ns:
            self.saved.notes.append(f"{name}: it was written to while it was read")
        return found.st_size

    def _add(self, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        reading = _Reading(content, member.size)
        self._tar.addfile(member, reading)
        self._note(member, reading.digest.hexdigest())

    def _note(self, member: tarfile.TarInfo, sha256: str | None) -> None:
        self._manifest.write(line_of(member, sha256).text().encode())

    def finish(self) -> None:
        """The manifest, last: only then all checksums are known."""
        self._manifest.flush()
        member = _member(MANIFEST, tarfile.REGTYPE, 0o600, time.time_ns())
        member.size = self._manifest.tell()
        self._manifest.seek(0)
        self._tar.addfile(member, self._manifest)


def line_of(member: tarfile.TarInfo, sha256: str | None) -> Line:
    """The line that the manifest must have for a member."""
    return Line(
        name=member.name,
        size=member.size,
        sha256=sha256,
        mtime_ns=int(member.pax_headers[PAX_TIME]),
        attribute=member.pax_headers.get(PAX_ATTRIBUTE),
    )


def _member(
    name: str, kind: bytes, mode: int, mtime_ns: int, attribute: str | None = None
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = stat.S_IMODE(mode) & 0o777
    member.mtime = mtime_ns // 1_000_000_000
    member.pax_headers = {PAX_TIME: str(mtime_ns)}
    if attribute is not None:
        member.pax_headers[PAX_ATTRIBUTE] = attribute
    return member


def _attribute(fd: int) -> str | None:
    """What is known of an object, as it was written; None where nothing is, or nothing can be."""
    try:
        return os.getxattr(fd, ATTRIBUTE).decode()
    except (OSError, UnicodeDecodeError, AttributeError):
        return None


class _Reading(io.RawIOBase):
    """A file's first bytes, as many as were announced, with their checksum.

    A file that became shorter meanwhile is filled up: an archive cannot take back a size.
    """

    def __init__(self, content: IO[bytes], size: int) -> None:
        self._content = content
        self._left = size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        block = self._content.read(wanted).ljust(wanted, b"\0")
        self._left -= wanted
        self.digest.update(block)
        return block

"""A backup put back, into a data directory that holds nothing yet.

Nobody vouches for an archive: it is unpacked into a folder of its own, where only plain files and
folders are made, under names that are known, and compared with its list of checksums. Only then is
anything moved to its place, the database last, because by it a server knows that it is not new.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tarfile
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from sparkowl.app import backup
from sparkowl.app.aside import aside
from sparkowl.config import CATALOG_FOLDER, DATABASE_FILE
from sparkowl.objects.attributes import NAME as ATTRIBUTE
from sparkowl.objects.keys import is_bucket_name
from sparkowl.store import migrate, snapshot
from sparkowl.store.engine import Place, UnusableDatabase, name_of
from sparkowl.store.reading import reading

#: What may be there before: a lock is made by every start, and the settings may come first.
_MAY_BE_THERE: Final = frozenset(("lock", backup.SETTINGS))
_ASIDE: Final = ".restore-"
#: Of the members that are not objects, nor the database or the manifest.
_SMALL_BYTES: Final = 4 << 20
_SMALL: Final = frozenset((backup.ABOUT, backup.CREDENTIALS, backup.SETTINGS, backup.ENGINES))
_NEEDED: Final = (backup.ABOUT, backup.DATABASE, backup.CREDENTIALS)
_UPLOAD: Final = re.compile(r"upload-[0-9a-f]{32}")
_BLOCK_BYTES: Final = 1 << 20
#: In the order in which they get their place; before them the settings, after them the database.
_PLACED: Final = (backup.BUCKETS, backup.STAGING, CATALOG_FOLDER, backup.CREDENTIALS)
#: What is raised by an archive that is damaged, or that somebody made.
_DAMAGES: Final = (
    *(tarfile.TarError, EOFError, zlib.error),
    *(KeyError, ValueError, OverflowError, RecursionError),
)
#: Room on the disk that is never filled up.
_SPARE_BYTES: Final = 64 << 20


class RestoreError(Exception):
    """The archive cannot be put there; the text says why. Nothing was changed."""


@dataclass(slots=True)
class Restored:
    """What was put back, for people."""

    about: dict[str, Any]
    files: int = 0
    #: Engines that were registered there: name, version of Spark, interpreter.
    engines: list[dict[str, Any]] = field(default_factory=list)
    #: There were settings already, and they were left as they are.
    kept_settings: bool = False


def restore(source: BinaryIO, data_dir: Path, place: Place | None = None) -> Restored:
    """Put the archive into ``data_dir``: all of it, or, with :class:`RestoreError`, nothing.

    The rows go into ``place``; None: into SQLite, in ``data_dir``.
    """
    missing = not data_dir.exists()
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _held(data_dir), aside(data_dir, _ASIDE) as unpacked:
            if isinstance(place, str):
                with _filling(place):
                    pass  # it can be filled: said before the long work, not after it
            restored = _unpack(source, unpacked)
            keep = (data_dir / backup.SETTINGS).exists()
            if not keep and not isinstance(place, str):
                _refuse_elsewhere(unpacked / backup.SETTINGS, data_dir)
            _prepare(unpacked)
            names = [backup.SETTINGS] * (not keep) + [*_PLACED]
            if isinstance(place, str):
                _fill(place, unpacked, data_dir, names)
            else:
                with _placed(unpacked, data_dir, [*names, DATABASE_FILE]):
                    pass
            restored.kept_settings = keep and (unpacked / backup.SETTINGS).exists()
            return restored
    except OSError as error:
        raise RestoreError(f"{data_dir} cannot be used: {error}.") from error
    finally:
        if missing:
            with suppress(OSError):  # it has what was restored
                _remove_made(data_dir)


def _remove_made(data_dir: Path) -> None:
    if [entry.name for entry in data_dir.iterdir()] == ["lock"]:
        (data_dir / "lock").unlink()
        data_dir.rmdir()


@contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """The data directory, empty, and held against a server as a server holds it."""
    found = {entry.name for entry in data_dir.iterdir() if not entry.name.startswith(_ASIDE)}
    there = sorted(found - _MAY_BE_THERE)
    with (data_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RestoreError(
                f"A server runs on {data_dir}. A backup is restored into an empty data directory."
            ) from error
        if there:
            named = ", ".join(there[:5]) + (", ..." if there[5:] else "")
            raise RestoreError(
                f"{data_dir} is not empty ({named}). A backup is restored into an empty data "
                "directory: name another one, or move this one away."
            )
        yield


def _unpack(source: BinaryIO, aside: Path) -> Restored:
    """Every member into the folder, compared with the manifest."""
    restored = Restored(about={})
    found = aside / ".found"
    try:
        with (
            tarfile.open(fileobj=source, mode="r|*", errors="surrogateescape") as tar,
            found.open("w+b") as lines,
        ):
            listed = False
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if member.name == backup.MANIFEST and content is not None:
                    _compare(content, lines)
                    listed = True
                    break
                _check(member, aside)
                sha256 = None if content is None else _write(member, content, aside)
                line = backup.line_of(member, sha256)
                lines.write(line.text().encode())
                if content is None:
                    (aside / member.name).mkdir(mode=0o700, parents=True, exist_ok=True)
                    (aside / member.name).chmod(member.mode & 0o777 | 0o700)
                    _stamp(aside / member.name, line)
                restored.files += content is not None
                if member.name == backup.ABOUT:
                    restored.about = _about(aside / backup.ABOUT)
    except _DAMAGES as error:
        raise RestoreError(f"This is no whole backup of SparkOwl: {error}.") from error
    if not listed:
        raise RestoreError("This is no whole backup of SparkOwl: its end is missing.")
    for name in _NEEDED:
        if not (aside / name).is_file():
            raise RestoreError(f"This is no whole backup of SparkOwl: it has no {name}.")
    found.unlink()
    with suppress(FileNotFoundError):
        restored.engines = json.loads((aside / backup.ENGINES).read_text())
    return restored


def _check(member: tarfile.TarInfo, aside: Path) -> None:
    """Refuse whatever a backup does not hold."""
    names = member.name.split("/")
    if not (member.isreg() or member.isdir()):
        raise RestoreError(f"{member.name!r} is neither a file nor a folder: not a backup.")
    known = (
        (member.isreg() and member.name in {*_SMALL, backup.DATABASE})
        or (names[0] == backup.BUCKETS and len(names) > 1 and is_bucket_name(names[1]))
        or (member.isreg() and member.name.startswith(f"{backup.CATALOG}/"))
        or (
            names[0] == backup.STAGING
            and len(names) == 3
            and member.isreg()
            and _UPLOAD.fullmatch(names[1]) is not None
        )
    )
    if not known or {"", ".", ".."} & set(names) or "\0" in member.name:
        raise RestoreError(f"{member.name!r} does not belong into a backup.")
    if member.name in _SMALL and member.size > _SMALL_BYTES:
        raise RestoreError(f"{member.name} has {member.size} bytes: not a backup.")
    free = shutil.disk_usage(aside).free - _SPARE_BYTES
    if member.size > free:
        raise RestoreError(
            f"{member.name} has {member.size} bytes, and the disk has room for {max(free, 0)}."
        )


def _write(member: tarfile.TarInfo, content: IO[bytes], aside: Path) -> str:
    """Write a file that is not there yet; its checksum."""
    path, digest = aside / member.name, hashlib.sha256()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only objects may be for others as well; the server sets their group at its start.
    mode = member.mode & 0o777 if member.name.startswith(f"{backup.BUCKETS}/") else 0o600
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
        os.fchmod(file.fileno(), mode | 0o600)
    _stamp(path, backup.line_of(member, None))
    return digest.hexdigest()


def _stamp(path: Path, line: backup.Line) -> None:
    """What is known of an object counts only beside the time that it was written for."""
    if line.attribute is not None:
        with suppress(OSError):  # a file system without such attributes
            os.setxattr(path, ATTRIBUTE, line.attribute.encode())
    os.utime(path, ns=(line.mtime_ns, line.mtime_ns))


def _compare(content: IO[bytes], found: BinaryIO) -> None:
    """The manifest must say of every member, in this order, what was found."""
    found.flush()
    found.seek(0)
    while True:
        # A line has a path of bounded length in it, and an attribute.
        wanted, line = content.readline(1 << 16), found.readline(1 << 16)
        if wanted != line:
            name = json.loads(line or wanted)["name"]
            raise RestoreError(f"{name} is not as it was saved: the backup is damaged.")
        if not wanted:
            return


def _about(file: Path) -> dict[str, Any]:
    about = json.loads(file.read_text())
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise RestoreError("This is no backup of SparkOwl: its first member says nothing.")
    if about["format"] > backup.FORMAT:
        raise RestoreError(
            f"SparkOwl {about.get('sparkowl')} made this backup in a form that this one does not "
            "know. Restore it with that SparkOwl, or a newer one."
        )
    return about


def _prepare(aside: Path) -> None:
    """Bring the database up to date, or refuse that of a newer server."""
    database = aside / backup.DATABASE
    try:
        migrate.upgrade(database)
    except migrate.NewerDatabase as error:
        raise RestoreError(str(error).replace(str(database), "The backup's database")) from error
    except DatabaseError as error:
        raise RestoreError(f"The backup's database cannot be used: {error.orig}.") from error
    database.rename(aside / DATABASE_FILE)
    with (aside / DATABASE_FILE).open("rb") as file:
        os.fsync(file.fileno())


def _refuse_elsewhere(settings: Path, data_dir: Path) -> None:
    """Settings that name another database than the one that is filled would have the next server
    use that: the original's own, perhaps."""
    with suppress(FileNotFoundError, ValueError):  # a server says what is wrong with them
        store = tomllib.loads(settings.read_text()).get("store", {})
        if isinstance(store, dict) and "url" in store:
            raise RestoreError(
                "The backup's settings name a database on PostgreSQL ([store] url). Say first "
                f"where its rows shall go: make {data_dir / backup.SETTINGS}, with the url of an "
                "empty database, or without one for SQLite."
            )


@contextmanager
def _filling(place: str) -> Iterator[Connection]:
    """The empty database, in a transaction; what is wrong with it as :class:`RestoreError`."""
    try:
        with snapshot.filling(place) as target:
            yield target
    except UnusableDatabase as error:
        raise RestoreError(str(error)) from error
    except DatabaseError as error:
        raise RestoreError(f"{name_of(place)} cannot be filled: {error.orig}.") from error


def _fill(place: str, unpacked: Path, data_dir: Path, names: Sequence[str]) -> None:
    """Rows and files: both are there when the transaction ends, or neither."""
    with (
        reading(unpacked / DATABASE_FILE) as source,
        _filling(place) as target,
    ):
        snapshot.copy(source, target)
        with _placed(unpacked, data_dir, names):
            target.commit()


@contextmanager
def _placed(unpacked: Path, data_dir: Path, names: Sequence[str]) -> Iterator[None]:
    """Everything in its place; moved back if the block fails."""
    os.sync()
    placed: list[str] = []
    try:
        for name in names:
            if (unpacked / name).exists():
                (unpacked / name).rename(data_dir / name)
                placed.append(name)
        yield
    except BaseException:
        for name in placed:
            (data_dir / name).rename(unpacked / name)
        raise

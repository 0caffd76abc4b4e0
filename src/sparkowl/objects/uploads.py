"""Multipart uploads: parts in the staging folder until one object is made of them.

An upload is a folder of its own, ``upload-<id>``: ``about.json`` says for which key it is, and each
part is a file named after its number and MD5, so that an ETag needs no second place to be kept.
Because all of it is on disk, an upload survives a restart of the server.

Not done: a completed upload is forgotten at once, so completing it a second time says NoSuchUpload,
where S3 would repeat its answer for a while.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from sparkowl.objects.attributes import About, Entry
from sparkowl.objects.drafts import Draft
from sparkowl.objects.errors import InvalidPart, InvalidPartOrder, NoSuchUpload, PartTooSmall
from sparkowl.objects.files import ANYWAY, Condition, Files
from sparkowl.objects.folders import open_bucket
from sparkowl.objects.keys import segments_of

#: S3's limits.
MAX_PARTS: Final = 10_000
MIN_PART_BYTES: Final = 5 << 20

_PREFIX: Final = "upload-"
_ABOUT: Final = "about.json"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_PART: Final = re.compile(r"(?P<number>[0-9]{5})\.(?P<md5>[0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One that is under way."""

    id: str
    bucket: str
    key: str
    started_at: datetime
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that has arrived."""

    number: int
    etag: str
    size_bytes: int
    modified_at: datetime
    path: Path


class Uploads:
    """The multipart uploads of one store."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def create(self, bucket: str, key: str, about: About) -> str:
        """Begin one; its id is given back."""
        segments_of(key)
        os.close(open_bucket(self._files.root, bucket))
        upload_id = secrets.token_hex(16)
        folder = self._folder(upload_id)
        folder.mkdir()
        said = {"bucket": bucket, "key": key, "about": asdict(about)}
        try:
            with self._files.draft() as draft:
                draft.write(json.dumps(said).encode())
                draft.keep(folder / _ABOUT)
        except OSError:  # such as a full disk
            self._forget(folder)
            raise
        return upload_id

    def get(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload of that id, if it is for that key."""
        upload = self._read(upload_id) if _ID.fullmatch(upload_id) else None
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise NoSuchUpload(
                "The specified upload does not exist. The upload ID may be invalid, or the upload "
                "may have been aborted or completed."
            )
        return upload

    def list(self, bucket: str) -> Sequence[Upload]:
        """Those of a bucket that are under way, by key and then by age."""
        found = [
            self._read(path.name.removeprefix(_PREFIX))
            for path in self._files.staging.glob(f"{_PREFIX}*")
        ]
        uploads = [upload for upload in found if upload is not None and upload.bucket == bucket]
        return sorted(uploads, key=lambda upload: (upload.key, upload.started_at, upload.id))

    def keep(self, upload: Upload, number: int, draft: Draft) -> str:
        """Make a complete draft the part ``number``; its ETag is given back."""
        folder = self._folder(upload.id)
        etag = draft.md5.hex()
        name = f"{number:05}.{etag}"
        try:
            draft.keep(folder / name)
        except FileNotFoundError as error:
            raise _gone_meanwhile() from error
        for older in folder.glob(f"{number:05}.*"):
            if older.name != name:
                older.unlink(missing_ok=True)
        return etag

    def parts(self, upload: Upload) -> Sequence[Part]:
        """What has arrived, by number."""
        found = [_part(path) for path in sorted(self._folder(upload.id).glob("*.*"))]
        return [part for part in found if part is not None]

    def complete(
        self,
        upload: Upload,
        wanted: Sequence[tuple[int, str]],
        condition: Condition = ANYWAY,
    ) -> Entry:
        """Make one object of the parts that are named by number and ETag; the others are lost."""
        chosen = self._chosen(upload, wanted)
        digests = b"".join(bytes.fromhex(part.etag) for part in chosen)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(chosen)}"
        with self._files.draft() as draft:
            try:
                for part in chosen:
                    _append(draft, part)
            except FileNotFoundError as error:
                raise _gone_meanwhile() from error
            draft.etag = etag
            entry = self._files.commit(
                draft, upload.bucket, upload.key, upload.about, condition=condition
            )
        self.abort(upload)
        return entry

    def abort(self, upload: Upload) -> None:
        """Forget an upload and its parts."""
        self._forget(self._folder(upload.id))

    def clear_abandoned(self, before: datetime) -> int:
        """Forget uploads that nobody touched since ``before``; how many they were."""
        removed = 0
        for folder in self._files.staging.glob(f"{_PREFIX}*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < before.timestamp():
                    self._forget(folder)
                    removed += 1
        return removed

    def _forget(self, folder: Path) -> None:
        # What says whose upload it is goes first: a half removed one is none at all.
        (folder / _ABOUT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, upload_id: str) -> Path:
        return self._files.staging / f"{_PREFIX}{upload_id}"

    def _read(self, upload_id: str) -> Upload | None:
        path = self._folder(upload_id) / _ABOUT
        try:
            said = json.loads(path.read_bytes())
            started_at = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
        except FileNotFoundError:
            return None
        return Upload(
            id=upload_id,
            bucket=said["bucket"],
            key=said["key"],
            started_at=started_at,
            about=About(**said["about"]),
        )

    def _chosen(self, upload: Upload, wanted: Sequence[tuple[int, str]]) -> Sequence[Part]:
        if not wanted:
            raise InvalidPart("You must specify at least one part.")
        numbers = [number for number, _ in wanted]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise InvalidPartOrder(
                "The list of parts was not in ascending order. Parts must be ordered by number."
            )
        there = {part.number: part for part in self.parts(upload)}
        chosen = [there.get(number) for number in numbers]
        kept = [part for part, (_, etag) in zip(chosen, wanted, strict=True) if _is(part, etag)]
        parts = [part for part in kept if part is not None]
        if len(parts) < len(wanted):
            raise InvalidPart(
                "One or more of the specified parts could not be found. The part might not have "
                "been uploaded, or the specified entity tag might not have matched its."
            )
        if any(part.size_bytes < MIN_PART_BYTES for part in parts[:-1]):
            raise PartTooSmall("Your proposed upload is smaller than the minimum allowed size")
        return parts


def _gone_meanwhile() -> NoSuchUpload:
    return NoSuchUpload("The upload was completed or aborted meanwhile.")


def _is(part: Part | None, etag: str) -> bool:
    return part is not None and part.etag == etag


def _part(path: Path) -> Part | None:
    match = _PART.fullmatch(path.name)
    if match is None:
        return None
    found = path.stat()
    return Part(
        number=int(match["number"]),
        etag=match["md5"],
        size_bytes=found.st_size,
        modified_at=datetime.fromtimestamp(int(found.st_mtime), UTC),
        path=path,
    )


def _append(draft: Draft, part: Part) -> None:
    fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        draft.append(fd, part.size_bytes)
    finally:
        os.close(fd)

"""Outputs for which an S3 service was away when their driver ended.

No session waits for the service: what it did not take is put aside, as
``<data directory>/unsent/<calculation>/`` with a note of where it belongs, and sent when the
service is back; also by a later server on the same data directory. Two bounds keep an outage from
filling the disk: of age and of size.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sparkowl.clock import Clock
from sparkowl.domain import encryption, locations
from sparkowl.domain.calculation import OUTPUT_NAMES, Calculation
from sparkowl.domain.locations import Location
from sparkowl.domain.session import Session
from sparkowl.objects.errors import ObjectError, StorageUnreachable
from sparkowl.objects.storage import Storage
from sparkowl.supervisor.workqueue import Rest, Verdict, backoff_s

log = logging.getLogger(__name__)

_NOTE: Final = "note.json"
#: What the service refuses for now (rights, a bucket) is tried again this often.
REFUSED_AGAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    age: timedelta
    size_bytes: int


class Unsent:
    def __init__(self, folder: Path, storage: Storage, clock: Clock, bounds: Bounds) -> None:
        self._folder = folder
        self._storage = storage
        self._clock = clock
        self._bounds = bounds
        self._failures = 0
        self._wake: Callable[[], None] = lambda: None
        self._lock = asyncio.Lock()

    @property
    def waits(self) -> bool:
        """The service was away at the last try, and the next is due: others need not try."""
        return self._failures > 0

    def listen(self, wake: Callable[[], None]) -> None:
        """``wake`` is called when there is something to send."""
        self._wake = wake

    async def keep(
        self,
        session: Session,
        calculation: Calculation,
        contents: Mapping[str, bytes],
        *,
        fillers: bool = False,
    ) -> None:
        """Put outputs aside; on disk when this returns, else OSError. What does not fit the bound
        is given up.

        ``fillers`` are for names that nothing else has come for, neither here nor there.
        """
        note = {
            "location": calculation.output_location,
            "encryption": None if session.encryption is None else session.encryption.members,
            "since": self._clock.now().isoformat(),
        }
        async with self._lock:
            kept = await asyncio.to_thread(
                self._write, calculation.id, note, contents, fillers=fillers
            )
        extra = {"calculation": calculation.id, "session": session.id}
        if kept:
            log.warning("outputs put aside until the S3 service takes them", extra=extra)
        else:
            log.error("outputs given up: objects.unsent_mb is used up", extra=extra)
        self._wake()

    def _write(
        self, name: str, note: dict[str, Any], contents: Mapping[str, bytes], *, fillers: bool
    ) -> bool:
        folder = self._folder / name
        others = sum(
            path.stat().st_size for path in self._folder.glob("*/*") if path.parent != folder
        )
        if others + sum(map(len, contents.values())) > self._bounds.size_bytes:
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        known = _read_note(folder) or {"fillers": []}
        left = set(known["fillers"])
        for output, content in contents.items():
            if fillers and (folder / output).exists():
                continue
            left = left | {output} if fillers else left - {output}
            _put(folder / output, content)
        _put(folder / _NOTE, json.dumps({**note, "fillers": sorted(left)}).encode())
        _sync(folder)
        _sync(self._folder)
        return True

    async def reconcile(self) -> Verdict:
        """Send what waits. Work of the supervisor's queue."""
        refused, away = False, set[str]()
        for folder in await asyncio.to_thread(self._waiting):
            try:
                note = await self._good_note(folder)
                if note is None:
                    continue
                bucket = locations.parse(note["location"]).bucket
                if bucket not in away:
                    await self._send(folder, note)
            except StorageUnreachable as error:
                away.add(bucket)  # asked once, however much is for it
                log.warning("outputs still not taken: %s", error)
            except (ObjectError, OSError) as error:
                refused = True
                log.warning(
                    "outputs not sent", extra={"calculation": folder.name, "why": str(error)}
                )
        if away:
            self._failures += 1
            return Rest(backoff_s(self._failures))
        self._failures = 0
        return Rest(REFUSED_AGAIN_S if refused else None)

    async def _good_note(self, folder: Path) -> dict[str, Any] | None:
        """None for what is too old, or was never completed; then it is gone."""
        async with self._lock:  # else it may be one that is being put aside
            note = await asyncio.to_thread(_read_note, folder)
            if note is not None and not self._is_old(note):
                return note
            if note is not None:
                log.error("outputs given up: too old", extra={"calculation": folder.name})
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            return None

    def _waiting(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in self._folder.iterdir() if path.is_dir())
        return []

    def _is_old(self, note: Mapping[str, Any]) -> bool:
        return self._clock.now() - datetime.fromisoformat(note["since"]) > self._bounds.age

    async def _send(self, folder: Path, note: Mapping[str, Any]) -> None:
        """Without the lock: a service may take long to answer, and sessions end meanwhile."""
        began = _state(folder)
        for name in OUTPUT_NAMES:
            path, place = folder / name, locations.parse(f"{note['location']}/{name}")
            if not path.exists():
                continue
            if name in note["fillers"] and await self._storage.exists(place):
                continue
            await self._put(place, path, note)
        async with self._lock:
            if _state(folder) != began:
                return  # more has come, and whoever brought it has woken this work
            await asyncio.to_thread(shutil.rmtree, folder)
        log.info("outputs sent that had been put aside", extra={"calculation": folder.name})

    async def _put(self, place: Location, path: Path, note: Mapping[str, Any]) -> None:
        content = await asyncio.to_thread(path.read_bytes)
        await self._storage.put(place, content, encryption.of(note["encryption"]))


def _read_note(folder: Path) -> dict[str, Any] | None:
    """None for a folder that was never completed."""
    try:
        note: dict[str, Any] = json.loads((folder / _NOTE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return note


def _state(folder: Path) -> list[tuple[str, int]]:
    """Changes with every file that is put there."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())


def _put(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

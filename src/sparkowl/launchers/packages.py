"""The Python packages of workgroups: built by pip, once, into a folder of the cache.

``<cache directory>/packages/<key>/site`` has the packages; the key is a hash of everything that
they depend on: the file's bytes, the Python, its platform, and what is installed in it already.
``manifest.json`` beside it is the listing of all files. A build goes on in a folder aside, which
is renamed when it is complete: what was broken off counts for nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from sparkowl.launchers import pip, requirements, trees
from sparkowl.launchers.requirements import PackagesError, Requirements

log = logging.getLogger(__name__)

#: In the cache directory.
FOLDER: Final = "packages"
MANIFEST: Final = "manifest.json"
SITE: Final = "site"
#: How often it is looked whether another process has built what we wait for.
_LOCK_POLL_S: Final = 0.2
#: Problems that a reason names; the others are counted.
_NAMED: Final = 10


class Packages(Protocol):
    """What gives workgroups their packages."""

    @property
    def work_groups(self) -> frozenset[str]:
        """Those that have a requirements file."""

    async def provide(self, work_group: str, engine_version: str) -> Path:
        """The folder with the workgroup's packages, for the Python that runs an engine.

        It is built when it is not there. Minutes may pass; who is cancelled meanwhile stops nobody
        else's build. Raises :class:`PackagesError`.
        """

    async def close(self) -> None:
        """Break off what is being built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A build, as its manifest tells."""

    folder: Path
    requirements: str
    python: str
    built_at: str
    #: Name and version of what is in it.
    names: Sequence[str]
    size_bytes: int


class PipPackages:
    """One build for each key at a time, whoever asks, in whichever process."""

    def __init__(
        self,
        shelf: Path,
        files: Mapping[str, Path],
        pythons: Mapping[str, str],
        *,
        limit_s: float,
    ) -> None:
        """``shelf``: the folder of all builds. ``files``: requirements files by workgroup.
        ``pythons``: as in the local launcher's settings. ``limit_s``: for one build."""
        self._shelf = shelf
        self._files = files
        self._pythons = pythons
        self._limit_s = limit_s
        self._builds: dict[str, asyncio.Task[Path]] = {}
        #: What the Pythons said of the files, by both; while we live, neither is changed under us.
        self._seen: dict[tuple[str, bytes], dict[str, Any]] = {}

    @property
    def work_groups(self) -> frozenset[str]:
        return frozenset(self._files)

    async def provide(self, work_group: str, engine_version: str) -> Path:
        wanted = await asyncio.to_thread(requirements.read, self._files[work_group])
        python = self._pythons.get(engine_version, sys.executable)
        seen = await self._look(wanted, python)
        key = key_of(wanted, seen["environment"])
        build = self._builds.get(key)
        if build is None:
            build = asyncio.create_task(self._made(key, wanted, python, seen), name=f"build:{key}")
            self._builds[key] = build
            build.add_done_callback(lambda ended: self._ended(key, ended))
        return await asyncio.shield(build)

    def _ended(self, key: str, build: asyncio.Task[Path]) -> None:
        del self._builds[key]
        if not build.cancelled():
            # Whoever asked for it may be gone.
            build.exception()

    async def close(self) -> None:
        builds = list(self._builds.values())
        for build in builds:
            build.cancel()
        await asyncio.gather(*builds, return_exceptions=True)

    async def key(self, work_group: str, engine_version: str) -> str:
        """What the folder of a workgroup's build is called, there or not."""
        wanted = await asyncio.to_thread(requirements.read, self._files[work_group])
        python = self._pythons.get(engine_version, sys.executable)
        return key_of(wanted, (await self._look(wanted, python))["environment"])

    async def _look(self, wanted: Requirements, python: str) -> dict[str, Any]:
        known = self._seen.get((python, wanted.content))
        if known is None:
            known = await pip.ask(python, {"lines": list(wanted.lines)})
            self._seen[python, wanted.content] = known
        if known["problems"]:
            raise PackagesError(f"{wanted.file}: {_listed(known['problems'])}")
        return known

    async def _made(
        self, key: str, wanted: Requirements, python: str, seen: Mapping[str, Any]
    ) -> Path:
        place = self._shelf / key
        if await asyncio.to_thread(_problem, place) is None:
            return place / SITE
        try:
            async with asyncio.timeout(self._limit_s), self._lock(key):
                # Whoever had the lock may have built it.
                problem = await asyncio.to_thread(_problem, place)
                if problem is not None:
                    await asyncio.to_thread(_clear, self._shelf, key, problem)
                    await self._build(place, wanted, python, seen)
        except TimeoutError:
            raise PackagesError(
                f"{wanted.file}: its packages were not there after {self._limit_s:g} s"
            ) from None
        except OSError as error:
            raise PackagesError(f"{place} cannot be made: {error}") from error
        return place / SITE

    async def _build(
        self, place: Path, wanted: Requirements, python: str, seen: Mapping[str, Any]
    ) -> None:
        aside = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        log.info("building packages", extra={"file": str(wanted.file), "folder": str(place)})
        try:
            (aside / SITE).mkdir(parents=True)
            # Not /tmp: there user code could change what is on its way into the folder.
            temporary = aside / "tmp"
            temporary.mkdir(mode=0o700)
            listed = temporary / "requirements.txt"
            listed.write_text(wanted.text(seen["install"]))
            if any(seen["install"]):
                await pip.install(python, listed, aside / SITE, wanted)
            # The address of an index may hold a password, and sessions read what stays here.
            await asyncio.to_thread(shutil.rmtree, temporary)
            answer = await pip.ask(
                python, {"lines": list(wanted.lines), "folder": str(aside / SITE)}
            )
            if answer["problems"]:
                raise PackagesError(f"{wanted.file}: {_listed(answer['problems'])}")
            await asyncio.to_thread(_finish, aside, place, wanted, python)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True))
        log.info("packages built", extra={"file": str(wanted.file), "folder": str(place)})

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        """Alone with a key, among all processes that share the cache. The system lets go of it when
        its holder dies."""
        self._shelf.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._shelf.chmod(0o755)
        file = self._shelf / f"{key}.lock"
        held = _try_lock(file)
        while held is None:
            # It is another process's, of which nothing here tells.
            await asyncio.sleep(_LOCK_POLL_S)
            held = _try_lock(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            os.close(held)


def key_of(wanted: Requirements, environment: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(wanted.content + b"\0")
    digest.update(json.dumps(environment, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def kept(shelf: Path) -> Iterator[Kept]:
    """Every complete build, the oldest first."""
    found = []
    for file in shelf.glob(f"*/{MANIFEST}"):
        with suppress(OSError, ValueError, KeyError):
            told = json.loads(file.read_text())
            found.append(
                Kept(
                    folder=file.parent,
                    requirements=told["requirements"],
                    python=told["python"],
                    built_at=told["built_at"],
                    names=told["names"],
                    size_bytes=sum(size for size, _, _ in told["files"].values()),
                )
            )
    yield from sorted(found, key=lambda each: each.built_at)


def prune(shelf: Path, spared: frozenset[str]) -> list[Path]:
    """Delete every build but those with the ``spared`` keys, and what was broken off; what went.

    What is being built at the moment stays.
    """
    gone = []
    for entry in sorted(shelf.glob("*")) if shelf.is_dir() else ():
        key = entry.name.lstrip(".").partition(".")[0]
        if not entry.is_dir() or (not entry.name.startswith(".") and key in spared):
            continue
        file = shelf / f"{key}.lock"
        held = _try_lock(file)
        if held is not None:
            shutil.rmtree(entry, ignore_errors=True)
            file.unlink(missing_ok=True)
            os.close(held)
            gone.append(entry)
    return gone


def _try_lock(file: Path) -> int | None:
    """A descriptor that holds the lock; None: somebody else does."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder has deleted it, perhaps since we opened it.
        if os.fstat(descriptor).st_ino == file.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _problem(place: Path) -> str | None:
    """Why a build cannot be used: it is not there (an empty text), or not what it was."""
    try:
        told = json.loads((place / MANIFEST).read_text())
        listing = {path: tuple(facts) for path, facts in told["files"].items()}
        if trees.digest(listing) != told["tree"]:
            return MANIFEST
        return trees.difference(place / SITE, listing)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return MANIFEST


def _clear(shelf: Path, key: str, problem: str) -> None:
    """Make way for a build: what an earlier one left when it was killed, and what was changed."""
    if problem:
        log.warning(
            "packages are not what was installed, and are built again",
            extra={"folder": str(shelf / key), "file": problem},
        )
    for left in (*shelf.glob(f".{key}.*"), shelf / key):
        shutil.rmtree(left, ignore_errors=True)


def _finish(aside: Path, place: Path, wanted: Requirements, python: str) -> None:
    listing = trees.take(aside / SITE)
    manifest = {
        "v": 1,
        "requirements": str(wanted.file),
        "python": python,
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "names": sorted(
            entry.name.removesuffix(".dist-info").replace("-", " ")
            for entry in (aside / SITE).glob("*.dist-info")
        ),
        "tree": trees.digest(listing),
        "files": listing,
    }
    (aside / MANIFEST).write_text(json.dumps(manifest))
    aside.chmod(0o755)
    aside.replace(place)


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _NAMED
    return "; ".join(problems[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


_: type[Packages] = PipPackages

"""Fetching jars for a Spark: resolved by that Spark itself, checked, and put in place at once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sparkowl.domain.coordinates import Build, Coordinates, NoneFits, coordinates
from sparkowl.launchers.jars import Jars, Manifest, place_of, sha256

#: The agent's own limit is an hour.
_TIMEOUT_S: Final = 3700


class FetchError(Exception):
    """The jars could not be fetched; what was there before is there still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where from, and for whom."""

    #: Python of the environment whose Spark the jars are for.
    python: str
    java_home: str | None = None
    #: Asked before Maven Central.
    repositories: Sequence[str] = ()
    ivy_settings: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    place: Path
    manifest: Manifest
    #: False: it was there, and whole.
    new: bool


def build(source: Source) -> Build:
    """Which Spark is there; :class:`FetchError` when there is none."""
    said = _ask(source, {})
    return Build(spark=said["spark"], scala=said["scala"], hadoop=said["hadoop"])


def fetch(cache_dir: Path, name: str, spark: Build, source: Source) -> Fetched:
    """Fetch the jars of a name unless they are there. A second fetch at once waits, and finds them.

    :class:`FetchError` leaves all as it was.
    """
    try:
        wanted = coordinates(name, spark)
    except NoneFits as why:
        raise FetchError(f"{name}: {why}.") from why
    place = place_of(cache_dir, spark.spark, name)
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _lock(place.parent / f".{name}.lock"):
            manifest = Manifest.read(place)
            if (
                manifest is not None
                and manifest.coordinates == wanted.packages
                and not Jars(cache_dir=cache_dir).damaged(place, manifest)
            ):
                return Fetched(place=place, manifest=manifest, new=False)
            for abandoned in place.parent.glob(
                f".{name}-*"
            ):  # a fetch was killed; we hold its lock
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place.parent) as scratch:
                return _fetch(Path(scratch), place, wanted, source)
    except OSError as error:
        raise FetchError(f"{place} cannot be made: {error}.") from error


def _fetch(scratch: Path, place: Path, wanted: Coordinates, source: Source) -> Fetched:
    _ask(
        source,
        {
            "packages": wanted.packages,
            "excluded": wanted.excluded,
            "repositories": list(source.repositories),
            "ivy_settings": None if source.ivy_settings is None else str(source.ivy_settings),
            "compiled": wanted.compiled,
            "folder": str(scratch),
        },
    )
    jars = scratch / "jars"
    files = sorted(jars.glob("*.jar"))
    if not files:
        raise FetchError(f"The repository gave no jars for {', '.join(wanted.packages)}.")
    manifest = Manifest(
        coordinates=wanted.packages,
        sha256={file.name: sha256(file) for file in files},
        size=sum(file.stat().st_size for file in files),
    )
    manifest.write(jars)
    # Drivers read them, perhaps as another user.
    jars.chmod(0o755)
    for file in jars.iterdir():
        file.chmod(0o644)
        _to_disk(file)
    if place.exists():
        place.rename(scratch / "before")
    jars.rename(place)
    _to_disk(place.parent)
    return Fetched(place=place, manifest=manifest, new=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _ask(source: Source, asked: dict[str, Any]) -> dict[str, Any]:
    """What the agent answers, in the environment whose Spark it is."""
    try:
        done = subprocess.run(
            [source.python, "-P", "-m", "sparkowl.agent.resolving"],
            input=json.dumps({"java_home": source.java_home, **asked}),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            umask=0o022,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{source.python} cannot be asked: {error}.") from error
    if "error" in answer:
        raise FetchError(answer["error"])
    return answer

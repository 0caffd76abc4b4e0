"""Jars that are not part of Spark: where they are, and whether they are whole.

``<cache>/jars/<Spark's version>/<name>/`` has what ``sparkowl jars fetch`` fetched, with
``manifest.json``; it appears at once and whole, by a rename. The operator's own folder,
``<folder>/<name>/``, wins and is taken as it is. How jars are fetched is :mod:`.fetching`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from sparkowl.domain.coordinates import NoneFits, require_line
from sparkowl.domain.formats import TITLES

MANIFEST: Final = "manifest.json"
#: What the agent compiled for Delta: a log that two sessions may write to at once.
COMPILED: Final = "sparkowl.jar"
DELTA_LOG: Final = "sparkowl.delta.FolderLogStore"
_BLOCK: Final = 1 << 20


class JarsMissing(Exception):
    """Jars that a driver needs are not there, or damaged; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was fetched."""

    #: What was asked for: ``group:artifact:version``.
    coordinates: tuple[str, ...]
    #: By file name.
    sha256: Mapping[str, str]
    #: Bytes of all files together.
    size: int

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """None: nothing was fetched there, or what was cannot be read."""
        try:
            values = json.loads((folder / MANIFEST).read_text())
            return cls(
                coordinates=tuple(values["coordinates"]),
                sha256=dict(values["sha256"]),
                size=int(values["size"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jars:
    """The jars that drivers may be launched with."""

    cache_dir: Path
    #: The operator's own folder.
    folder: Path | None = None
    #: Names that every driver gets.
    always: tuple[str, ...] = ()
    #: Spark's version by engine, where an engine has an environment of its own.
    sparks: Mapping[str, str] = field(default_factory=dict)
    #: Files that were found whole, by path, with size and time: a sum is made once.
    _whole: dict[Path, tuple[int, int]] = field(default_factory=dict, repr=False)

    def class_path(self, names: Collection[str], engine: str | None) -> tuple[str, ...]:
        """The jars behind these names and those of every driver, for the engine's Spark.

        Raises :class:`JarsMissing`. Reads whole files: not for the event loop.
        """
        wanted = [*self.always, *(name for name in names if name not in self.always)]
        return tuple(str(jar) for name in wanted for jar in self.of(name, engine))

    def of(self, name: str, engine: str | None = None) -> list[Path]:
        own = self.own(name)
        if own:
            return own
        spark = self.spark(engine)
        place = place_of(self.cache_dir, spark, name)
        manifest = Manifest.read(place)
        if manifest is None:
            raise JarsMissing(f"{_jars_of(name)}, {self._why_not_there(name, engine)}")
        damaged = self.damaged(place, manifest)
        if damaged:
            raise JarsMissing(
                f"{_jars_of(name)}, and {place / damaged[0]} is not as it was fetched: "
                f"{self._command(name, engine)}"
            )
        return [place / file for file in sorted(manifest.sha256)]

    def own(self, name: str) -> list[Path]:
        """The operator's own."""
        return [] if self.folder is None else sorted((self.folder / name).glob("*.jar"))

    def spark(self, engine: str | None) -> str:
        return self.sparks.get(engine or "") or own_spark()

    def damaged(self, place: Path, manifest: Manifest) -> list[str]:
        """Files of the manifest that are not as they were fetched."""
        return [
            file
            for file, digest in sorted(manifest.sha256.items())
            if not self._is_whole(place / file, digest)
        ]

    def _why_not_there(self, name: str, engine: str | None) -> str:
        try:
            require_line(name, self.spark(engine))
        except NoneFits as why:
            return f"but {why}"
        return f"which are not there: {self._command(name, engine)}"

    def _command(self, name: str, engine: str | None) -> str:
        where = f' --engine "{engine}"' if engine in self.sparks else ""
        return f"run: sparkowl jars fetch {name}{where}"

    def _is_whole(self, file: Path, digest: str) -> bool:
        try:
            facts = file.stat()
            seen = facts.st_size, facts.st_mtime_ns
            if self._whole.get(file) != seen:
                if sha256(file) != digest:
                    return False
                self._whole[file] = seen
        except OSError:
            return False
        return True


def own_spark() -> str:
    """The version of Spark in our own environment, from its metadata; empty: there is none."""
    try:
        return version("pyspark")
    except PackageNotFoundError:
        return ""


def place_of(cache_dir: Path, spark: str, name: str) -> Path:
    return cache_dir / "jars" / spark / name


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _jars_of(name: str) -> str:
    return f"{TITLES[name]}'s jars"

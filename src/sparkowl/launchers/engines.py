"""Which environment runs which engine: what was registered, what the settings say, ours otherwise.

``<data directory>/engines/<engine>/engine.json`` names the environment of an engine. It is written
last, and replaced at once: an environment that it does not name is rubbish, or not finished yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sparkowl.domain.sparks import OWN, Known, Spark, Sparks

#: The properties of the Spark versions that somebody looked at; the last is the lock file's.
LOOKED_AT: Final = ("3.5.8", "4.1.4")
_SPARK: Final = Path(__file__).parent / "spark"


class EngineError(Exception):
    """An engine's environment cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The content of ``engine.json``: an environment that was checked."""

    name: str
    #: Interpreter of the environment.
    python: str
    #: The interpreter that was named to be registered; None: we made the environment.
    source: str | None
    spark_version: str
    #: The Java that was found for it when it was checked: version and home.
    java: str
    #: File with the properties that its Spark knows.
    properties: str

    @property
    def folder(self) -> Path:
        return Path(self.python).parent.parent


def slug(name: str) -> str:
    """An engine's name as the name of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def folder_of(data_dir: Path, name: str) -> Path:
    return data_dir / "engines" / slug(name)


def read(folder: Path) -> Environment | None:
    """The environment that is registered in an engine's folder."""
    file = folder / "engine.json"
    try:
        return Environment(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise EngineError(f"{file} is damaged: {error}. Register the engine again.") from error


def write(folder: Path, environment: Environment) -> None:
    aside = folder / ".engine.json"
    aside.write_text(json.dumps(asdict(environment), indent=2) + "\n")
    aside.replace(folder / "engine.json")


def registered(data_dir: Path) -> Iterator[Environment]:
    """The environments that `sparkowl engines` registered, in the order of their names."""
    for folder in sorted((data_dir / "engines").glob("*/")):
        # What the settings name has a folder of its own: see `of_setting`.
        found = None if folder.suffix == _BY_SETTING else read(folder)
        if found is not None:
            yield found


def folders(data_dir: Path) -> list[Path]:
    """The folders on the way to the environments; a driver's own user must get through them."""
    root = data_dir / "engines"
    return [root, *root.glob("*/")]


_BY_SETTING: Final = ".setting"


def of_setting(data_dir: Path, name: str) -> Path:
    """Where what was found out about an interpreter of the settings is kept."""
    return data_dir / "engines" / (slug(name) + _BY_SETTING)


def sparks(environments: Mapping[str, Environment]) -> Sparks:
    """The Spark behind every engine's name, as the API sees it."""
    return Sparks(
        own=Spark(OWN, looked_at()[-1]),
        registered={name: _spark(found) for name, found in environments.items()},
    )


def _spark(environment: Environment) -> Spark:
    try:
        known = Known.parse(Path(environment.properties).read_text())
        if not Path(environment.python).exists():
            raise FileNotFoundError(f"there is no {environment.python}")
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The environment of {environment.name} cannot be used: {error}. "
            f"Make it again (sparkowl engines add), or: "
            f'sparkowl engines remove "{environment.name}"'
        ) from error
    # The folder is new with every registration, so no driver of an earlier one fits.
    return Spark(f"{environment.spark_version} {environment.python}", known.limited_to(looked_at()))


def looked_at() -> list[Known]:
    return [Known.parse((_SPARK / f"{version}.properties").read_text()) for version in LOOKED_AT]

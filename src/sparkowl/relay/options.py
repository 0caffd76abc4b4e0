"""What a kernelspec says about the sessions it starts, and where: the arguments of its process."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: What the kernelspec is called unless it is given a name.
NAME: Final = "sparkowl"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is and with which keys to call it; no secret is among these.

    A URL or a profile: keys as any AWS client finds them. Else, unless the environment names a URL:
    the server that runs on a data directory, with that directory's keys.
    """

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to start. None: as the workgroup or the server has it."""

    place: Place = field(default_factory=Place)
    name: str = NAME
    work_group: str = "spark"
    max_dpus: int = 20
    idle_minutes: int | None = None
    properties: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The arguments that :func:`parse` makes the same options from."""
        pairs: list[tuple[str, object]] = [
            ("--name", self.name),
            ("--work-group", self.work_group),
            ("--max-dpus", self.max_dpus),
            ("--idle-minutes", self.idle_minutes),
            ("--endpoint-url", self.place.endpoint_url),
            ("--profile", self.place.profile),
            ("--region", self.place.region),
            ("--data-dir", self.place.data_dir),
            *(("--property", f"{name}={value}") for name, value in self.properties.items()),
        ]
        # In one word, as a value may begin with a dash.
        return [f"{option}={value}" for option, value in pairs if value is not None]


def parse(arguments: list[str]) -> tuple[Path, Options]:
    """The connection file and the options; a wrong argument ends the process and says so."""
    parser = argparse.ArgumentParser("sparkowl.relay", allow_abbrev=False)
    parser.add_argument("-f", dest="connection_file", type=Path, required=True)
    parser.add_argument("--name", default=NAME)
    parser.add_argument("--work-group", default="spark")
    parser.add_argument("--max-dpus", type=int, default=20)
    parser.add_argument("--idle-minutes", type=int)
    parser.add_argument("--endpoint-url")
    parser.add_argument("--profile")
    parser.add_argument("--region")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--property", type=pair, action="append", default=[], dest="properties")
    given = parser.parse_args(arguments)
    return given.connection_file, Options(
        place=Place(given.endpoint_url, given.profile, given.region, given.data_dir),
        name=given.name,
        work_group=given.work_group,
        max_dpus=given.max_dpus,
        idle_minutes=given.idle_minutes,
        properties=dict(given.properties),
    )


def pair(text: str) -> tuple[str, str]:
    """A property's name and value from ``name=value``; ValueError for anything else."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{text!r} is not name=value")
    return name, value

"""What really runs behind an engine's name: an environment, its Spark, and the Spark's properties.

The engine's name decides how the API behaves; which Spark runs is the operator's choice. Names for
which no environment is registered share the server's own, and with it its warm drivers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self, cast

When = Literal["launch", "run-time", "gone"]

#: Stands for the server's own environment in a driver's fingerprint.
OWN: Final = "own"


@dataclass(frozen=True, slots=True)
class Property:
    """A property that a Spark knows, as it says itself."""

    #: ``launch``: fixed when the driver starts. ``run-time``: settable on a running session.
    #: ``gone``: Spark remembers the name, and ignores or refuses it.
    when: When
    #: The property whose value this one has while it is not set.
    follows: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The properties of one Spark, by their names of today."""

    spark_version: str
    properties: Mapping[str, Property]
    #: Other spellings that Spark takes, to the names of today.
    aliases: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``sparkowl.agent.properties`` writes; ValueError for anything else."""
        first, *lines = text.splitlines()
        opening, closing = "# The properties of Apache Spark ", ", as it says itself."
        if not first.startswith(opening) or not first.endswith(closing):
            raise ValueError("This is no list of Spark properties.")
        properties: dict[str, Property] = {}
        aliases: dict[str, str] = {}
        for line in lines:
            key, when, *more = line.split(" ")
            if when not in ("launch", "run-time", "gone"):
                raise ValueError(f"{key} is settable at {when!r}, which means nothing.")
            follows = [word[1:] for word in more if word.startswith("<")]
            properties[key] = Property(cast("When", when), follows[0] if follows else None)
            aliases |= {word[1:]: key for word in more if word.startswith("=")}
        return cls(first[len(opening) : -len(closing)], properties, aliases)

    def canonical(self, key: str) -> str:
        """The name of today for a key that this Spark knows by another one."""
        seen = {key}
        while (newer := self.aliases.get(key)) is not None and newer not in seen:
            seen.add(newer)
            key = newer
        return key

    def limited_to(self, seen: Iterable[Known]) -> Known:
        """Without the properties that none of ``seen`` has: nobody has looked at them yet."""
        keys = {key for known in seen for key in known.properties}
        kept = {key: entry for key, entry in self.properties.items() if key in keys}
        return Known(self.spark_version, kept, self.aliases)


@dataclass(frozen=True, slots=True)
class Spark:
    """One Spark that sessions may run on."""

    #: The environment that runs, whatever the engine is called.
    environment: str
    known: Known


@dataclass(frozen=True, slots=True)
class Sparks:
    """The Spark behind every engine's name."""

    own: Spark
    #: By engine name, where an environment is registered.
    registered: Mapping[str, Spark] = field(default_factory=dict)

    def of(self, engine_version: str) -> Spark:
        return self.registered.get(engine_version, self.own)

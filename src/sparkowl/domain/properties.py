"""Which Spark properties a session may set, and which of them a running driver can take.

First the name that Spark would see is found: without blanks around it, and with older spellings
replaced. What is decided then holds for that name, and that name is what a driver is given. It is
an allow list (:mod:`.property_rules`), and the running Spark must know the property too. Keys that
do not begin with ``spark.`` are ignored, as Athena does; one that is refused makes the session
FAILED, as Athena does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sparkowl.domain import formats
from sparkowl.domain import property_rules as rules
from sparkowl.domain.property_rules import Kind
from sparkowl.domain.sparks import Known

#: ``so``: the driver has this value anyway.
Place = Literal["launch", "run-time", "so"]

_NAME: Final = re.compile(r"spark\.[A-Za-z0-9_.-]{1,200}")
#: Characters that end a line somewhere, or that no file and no database holds.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
#: As long as Athena's own values may be (EngineConfiguration.AdditionalConfigs).
_VALUE_LIMIT: Final = 51200
#: How many refusals a reason names; the others are counted.
_NAMED: Final = 10
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class Review:
    """What becomes of a session's properties, by the names that Spark has for them."""

    at_launch: Mapping[str, str]
    at_run_time: Mapping[str, str]
    #: What may not be set, and why, in order.
    refused: Mapping[str, str]

    @property
    def refusal(self) -> str:
        """The StateChangeReason of a session that asked for too much."""
        named = list(self.refused.items())[:_NAMED]
        more = len(self.refused) - len(named)
        return (
            "Spark properties that cannot be set in a session: "
            + "; ".join(f"{key} ({why})" for key, why in named)
            + (f"; and {more} more" if more else "")
        )


class _Refused(Exception):
    """The message says why."""


def review(properties: Mapping[str, str], known: Known) -> Review:
    """Sort the properties of a StartSession, for the Spark that would run it."""
    placed: dict[str, dict[str, str]] = {"launch": {}, "run-time": {}, "so": {}}
    refused: dict[str, str] = {}
    given: dict[str, str] = {}
    for key, value in _canonical(properties, known):
        try:
            if given.setdefault(key, value) != value:
                raise _Refused("it is given twice, with two values")  # noqa: TRY301
            where = place(key, value, known)
            placed[where][key] = value if where == "run-time" else stripped(value)
        except _Refused as why:
            refused[key] = str(why)
    for taken in placed.values():
        for key in refused:
            taken.pop(key, None)
    named = {_shown(key): why for key, why in sorted(refused.items())}
    return Review(placed["launch"], placed["run-time"], named)


def _canonical(properties: Mapping[str, str], known: Known) -> Iterator[tuple[str, str]]:
    for key, value in sorted(properties.items()):
        name = canonical(key, known)
        if name.startswith("spark."):
            yield name, value


def canonical(key: str, known: Known) -> str:
    """The name that Spark would see."""
    return known.canonical(stripped(key))


def stripped(text: str) -> str:
    """Without what Java (everything up to the blank) or Python takes for blank at its ends."""
    blank = "".join(map(chr, range(0x21)))
    while text != (less := text.strip().strip(blank)):
        text = less
    return text


def place(key: str, value: str, known: Known) -> Place:
    """Where a property belongs, under its canonical name. Raises when it may not be set."""
    where = _place(key, value, known)
    if where == "run-time" and rules.CATALOG.fullmatch(key) and formats.formats_in(value):
        # Its classes come from jars that a driver is launched with.
        return "launch"
    return where


def _place(key: str, value: str, known: Known) -> Place:
    if _NAME.fullmatch(key) is None:
        raise _Refused("that is no name of a property")
    if len(value) > _VALUE_LIMIT or _CONTROL.search(value):
        raise _Refused("its value must be one line, of at most 51200 characters")
    if key in rules.PINNED:
        if stripped(value).lower() != rules.PINNED[key]:
            raise _Refused(f"it is {rules.PINNED[key]} and stays so")
        return "so"
    if key in rules.UNDECLARED:
        _must_be(rules.UNDECLARED[key], value)
        return "launch"
    if key in known.properties:
        return _of_known(key, value, known)
    if rules.FREE.fullmatch(key):
        if rules.LOCAL.match(value):
            raise _Refused("its value may not be a file of the server")
        return "run-time"
    if key in rules.LAUNCH or _in_families(key):
        raise _Refused(f"Spark {known.spark_version} has no such property")
    raise _Refused(why_refused(key))


def _of_known(key: str, value: str, known: Known) -> Place:
    when = known.properties[key].when
    if when == "gone":
        raise _Refused(f"Spark {known.spark_version} has no such property any more")
    if key in rules.LAUNCH:
        _must_be(rules.LAUNCH[key], value)
        return "launch"
    if may_be_set_at_run_time(key, known):
        if rules.LOCAL.match(value):
            raise _Refused("its value may not be a file of the server")
        return "run-time"
    raise _Refused(why_refused(key))


def may_be_set_at_run_time(key: str, known: Known) -> bool:
    entry = known.properties.get(key)
    return entry is not None and entry.when == "run-time" and _in_families(key)


def _must_be(kind: Kind, value: str) -> None:
    if kind.pattern.fullmatch(stripped(value)) is None:
        raise _Refused(f"its value must be {kind.words}")


def _in_families(key: str) -> bool:
    return key not in rules.EXCEPT and any(
        key.startswith(entry) if entry.endswith(".") else key == entry for entry in rules.RUN_TIME
    )


def why_refused(key: str) -> str:
    """The reason for a property that no rule allows."""
    if key in rules.EXCEPT:
        return rules.EXCEPT[key]
    return next(why for pattern, why in rules.REFUSED if re.fullmatch(pattern, key))


def _shown(key: str) -> str:
    """A name for people, of bounded length: it may be anything that begins with ``spark.``."""
    plain = key.encode("unicode_escape").decode()
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + "..."

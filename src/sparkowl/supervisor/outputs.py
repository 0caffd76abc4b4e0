"""The outputs of a calculation whose driver cannot write them any more.

A calculation's three objects exist in every terminal state. The agent writes them; where it died
first, what it had written stays, what it had still in its spool is stored, and the rest is filled
in here, before the state is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Required, TypedDict

from sparkowl.domain import locations
from sparkowl.domain.calculation import OUTPUT_NAMES, Calculation
from sparkowl.domain.locations import Location
from sparkowl.domain.session import Session
from sparkowl.objects.errors import NoSuchBucket, NoSuchKey
from sparkowl.objects.files import Files
from sparkowl.objects.storage import Storage

#: Outputs of a block that said nothing.
EMPTY: Final = {
    "stdout": b"",
    "stderr": b"",
    "result.json": json.dumps({"outputs": []}).encode(),
}


class Destination(TypedDict, total=False):
    """The members of a Run that say where its outputs belong."""

    output_dir: Required[str]
    output_uri: str
    encryption: Mapping[str, str]


def destination(files: Files | None, session: Session, calculation: Calculation) -> Destination:
    """Where the agent writes the outputs, or uploads them to. Raises ObjectError when the folder of
    the bucket is not there; a service's bucket the agent finds missing by itself."""
    if files is not None:
        place = locations.parse(calculation.output_location)
        return {"output_dir": str(files.path(place.bucket, place.key))}
    encryption = session.encryption
    return {
        "output_dir": "",
        "output_uri": calculation.output_location,
        "encryption": {} if encryption is None else encryption.words,
    }


async def write_timeline(storage: Storage, session: Session) -> None:
    """Put the start timeline where clients can read it: ``<working directory>/start.json``."""
    place = locations.parse(f"{session.working_directory}/start.json")
    await storage.put(place, json.dumps(session.timeline).encode(), session.encryption)


async def complete(storage: Storage, session: Session, calculation: Calculation) -> None:
    """Write those of the three objects that are missing."""
    for name in OUTPUT_NAMES:
        place = locations.parse(calculation.output(name))
        if not await storage.exists(place):
            await storage.put(place, EMPTY[name], session.encryption)


async def store(
    storage: Storage, session: Session, calculation: Calculation, contents: Mapping[str, bytes]
) -> None:
    """Store what is left of the outputs; what is there already in full is not touched."""
    for name, content in contents.items():
        place = locations.parse(calculation.output(name))
        if not await _is_there(storage, place, content):
            await storage.put(place, content, session.encryption)


async def _is_there(storage: Storage, place: Location, content: bytes) -> bool:
    try:
        size = await storage.size(place)
    except (NoSuchKey, NoSuchBucket):
        return False
    return size == len(content) and await storage.read(place, size) == content

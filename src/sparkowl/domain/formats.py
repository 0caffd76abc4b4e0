"""Table formats: which jars a session's properties ask for, and what its properties become here.

Athena switches a format on by a set of Spark properties (User Guide, "Using Apache Iceberg / Linux
Foundation Delta Lake / Apache Hudi tables in Athena for Spark"). Sessions bring the same sets; two
things in them are AWS's own, Glue's catalogue and Iceberg's S3 client, and stand for what is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

#: What the classes of a format are called, and the name of its jars.
CLASSES: Final[Mapping[str, str]] = {
    "org.apache.iceberg.": "iceberg",
    "io.delta.": "delta",
    "org.apache.spark.sql.delta.": "delta",
    "org.apache.hudi.": "hudi",
    "org.apache.spark.sql.hudi.": "hudi",
}
#: What a person calls them.
TITLES: Final[Mapping[str, str]] = {
    "iceberg": "Iceberg",
    "delta": "Delta Lake",
    "hudi": "Hudi",
    "s3a": "S3A",
    "postgresql": "PostgreSQL",
}

_BEGINS: Final = re.compile(rf"(?:^|[\s,])({'|'.join(map(re.escape, CLASSES))})")
_CATALOG: Final = re.compile(r"spark\.sql\.catalog\.(?P<name>\w+)(?:\.(?P<option>.+))?", re.ASCII)

_AWS: Final = "org.apache.iceberg.aws."
_GLUE: Final = f"{_AWS}glue.GlueCatalog"
_S3_FILE_IO: Final = f"{_AWS}s3.S3FileIO"
_FILE_IO: Final = "org.apache.iceberg.hadoop.HadoopFileIO"
_METASTORE: Final = "spark.hadoop.hive.metastore.uris"


def formats_in(value: str) -> set[str]:
    """The formats whose classes a property's value names."""
    return {CLASSES[begins] for begins in _BEGINS.findall(value)}


def needed(properties: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the jars that a session with these properties needs, in order.

    What it fetches itself (``spark.jars.packages``) is not needed from here.
    """
    named = {name for value in properties.values() for name in formats_in(value)}
    return tuple(sorted(named - _brought(properties)))


def _brought(properties: Mapping[str, str]) -> set[str]:
    """The formats whose jars the session's own ``spark.jars`` and its like hold, by their names."""
    given = ",".join(
        properties.get(key, "") for key in ("spark.jars", "spark.jars.packages")
    ).lower()
    marks = {"iceberg": "iceberg-spark", "delta": "delta-spark", "hudi": "hudi-spark"}
    return {name for name, mark in marks.items() if mark in given}


def adapted(properties: Mapping[str, str], *, warehouse: str, glue: bool) -> dict[str, str]:
    """The properties of a launch, with Glue's catalogue and Iceberg's S3 client replaced.

    ``warehouse``: where a catalogue keeps its tables that has no metastore. ``glue``: the operator
    has Glue itself and the jars for it, so nothing is replaced.
    """
    if glue:
        return dict(properties)
    result = {}
    for key, value in properties.items():
        found = _CATALOG.fullmatch(key)
        option = None if found is None else found["option"]
        if value == _S3_FILE_IO and option == "io-impl":
            result[key] = _FILE_IO
        elif not _is_glue(option, value) and not _is_awss_lock(properties, key, option):
            result[key] = value
    for catalog in _glue_catalogs(properties):
        prefix = f"spark.sql.catalog.{catalog}"
        if _METASTORE in properties:
            result[f"{prefix}.type"] = "hive"
        else:
            result[f"{prefix}.type"] = "hadoop"
            result.setdefault(f"{prefix}.warehouse", warehouse)
    return result


def _is_glue(option: str | None, value: str) -> bool:
    return (option == "catalog-impl" and value == _GLUE) or (
        option == "type" and value.lower() == "glue"
    )


def _is_awss_lock(properties: Mapping[str, str], key: str, option: str | None) -> bool:
    """Whether it is of a lock of AWS's: its class, or one of the options that go with it."""
    if option is None or not option.startswith("lock"):
        return False
    return properties.get(f"{key.removesuffix(option)}lock-impl", "").startswith(_AWS)


def _glue_catalogs(properties: Mapping[str, str]) -> Iterable[str]:
    for key, value in properties.items():
        found = _CATALOG.fullmatch(key)
        if found is not None and _is_glue(found["option"], value):
            yield found["name"]

"""The engines: what each takes and what it refuses, as on AWS.

The engine's name decides the behaviour, not the Spark that runs: code that passes here must not
fail there. ``Apache Spark version 4.1`` is SparkOwl's own, and takes what either of AWS's takes.
Sources: Athena User Guide, "Release versions" and "Considerations and limitations" of Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sparkowl.domain.errors import InvalidRequest

AUTO: Final = "AUTO"
ATHENA_SQL: Final = "Athena engine version 3"
SPARK_3: Final = "PySpark engine version 3"
SPARK_3_5: Final = "Apache Spark version 3.5"
SPARK_4_1: Final = "Apache Spark version 4.1"

#: What ListEngineVersions answers: selected version to effective version.
ENGINE_VERSIONS: Final[Mapping[str, str]] = {
    AUTO: ATHENA_SQL,
    ATHENA_SQL: ATHENA_SQL,
    SPARK_3: SPARK_3,
    SPARK_3_5: SPARK_3_5,
    SPARK_4_1: SPARK_4_1,
}

#: The one classification that Athena's Spark engines take.
CLASSIFICATION: Final = "spark-defaults"

_SIZES: Final = frozenset({"CoordinatorDpuSize", "DefaultExecutorDpuSize"})


@dataclass(frozen=True, slots=True)
class Engine:
    """One Spark engine. Members that are not named here, every engine takes."""

    name: str
    #: Members of EngineConfiguration that it refuses.
    refused: frozenset[str]
    #: Whether code blocks run by the calculation operations, and whether notebooks open on it.
    calculations: bool
    notebooks: bool


SPARK_ENGINES: Final[Mapping[str, Engine]] = {
    engine.name: engine
    for engine in (
        Engine(SPARK_3, frozenset({"Classifications"}), calculations=True, notebooks=True),
        Engine(SPARK_3_5, _SIZES | {"SparkProperties"}, calculations=False, notebooks=False),
        Engine(SPARK_4_1, frozenset(), calculations=True, notebooks=True),
    )
}


def effective(selected: str) -> str:
    """The engine that a selected version stands for; InvalidRequest for one that is not there."""
    found = ENGINE_VERSIONS.get(selected)
    if found is None:
        raise InvalidRequest(
            f"EngineVersion.SelectedEngineVersion {selected} is not one of: "
            f"{', '.join(ENGINE_VERSIONS)}."
        )
    return found


def require_takes(engine_version: str, configuration: Mapping[str, Any]) -> None:
    """Raise unless the engine takes every member of an EngineConfiguration."""
    engine = SPARK_ENGINES[engine_version]
    for name in sorted(engine.refused.intersection(configuration)):
        raise InvalidRequest(f"EngineConfiguration.{name} is not supported for {engine.name}.")
    seen = set()
    for classification in configuration.get("Classifications", ()):
        name = classification.get("Name")
        if name != CLASSIFICATION:
            raise InvalidRequest(
                f"EngineConfiguration.Classifications: Name must be {CLASSIFICATION}, not {name}."
            )
        if name in seen:
            raise InvalidRequest(
                f"EngineConfiguration.Classifications names {CLASSIFICATION} more than once."
            )
        seen.add(name)


def require_calculations(engine_version: str, allowed: frozenset[str]) -> None:
    """Raise where AWS has no calculations, unless the operator ``allowed`` them for the engine."""
    if not SPARK_ENGINES[engine_version].calculations and engine_version not in allowed:
        raise InvalidRequest(
            f"Calculations are not supported for {engine_version}; sessions of {SPARK_3} and "
            f"{SPARK_4_1} run them."
        )


def require_notebooks(engine_version: str, what: str = "NotebookVersion") -> None:
    """Raise where AWS has no notebooks; ``what`` was asked for."""
    if not SPARK_ENGINES[engine_version].notebooks:
        raise InvalidRequest(f"{what} is not supported for {engine_version}.")


def merged(
    defaults: Mapping[str, Any],
    asked: Mapping[str, Any],
    canonical: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The EngineConfiguration of a session: what was asked for, over its workgroup's defaults.

    Sizes are replaced, maps are merged key by key. A Spark property that was asked for replaces the
    default of its name in either of the two places that properties have; ``canonical`` finds the
    name behind each spelling.
    """
    named = {canonical(key) for key in spark_properties(asked)}
    result: dict[str, Any] = {**defaults, **asked}
    for place in ("AdditionalConfigs", "SparkProperties"):
        if place in result:
            kept = {k: v for k, v in defaults.get(place, {}).items() if canonical(k) not in named}
            result[place] = {**kept, **asked.get(place, {})}
    if "Classifications" in result:
        kept = {k: v for k, v in _classified(defaults).items() if canonical(k) not in named}
        properties = {**kept, **_classified(asked)}
        result["Classifications"] = [{"Name": CLASSIFICATION, "Properties": properties}]
    return result


def spark_properties(configuration: Mapping[str, Any]) -> dict[str, str]:
    """The Spark properties of an EngineConfiguration, from both places that engines know."""
    return {**_classified(configuration), **configuration.get("SparkProperties", {})}


def _classified(configuration: Mapping[str, Any]) -> dict[str, str]:
    properties: dict[str, str] = {}
    for classification in configuration.get("Classifications", ()):
        properties.update(classification.get("Properties", {}))
    return properties

"""Workgroups and the engines they run.

The engine's name decides the behaviour, not the Spark that runs: that is the installed PySpark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sparkowl.domain.errors import InvalidRequest

AUTO: Final = "AUTO"
ATHENA_SQL: Final = "Athena engine version 3"
SPARK_3: Final = "PySpark engine version 3"
SPARK_3_5: Final = "Apache Spark version 3.5"
SPARK_4_1: Final = "Apache Spark version 4.1"

SPARK_ENGINES: Final = frozenset({SPARK_3, SPARK_3_5, SPARK_4_1})
#: What ListEngineVersions answers: selected version to effective version.
ENGINE_VERSIONS: Final[Mapping[str, str]] = {
    AUTO: ATHENA_SQL,
    ATHENA_SQL: ATHENA_SQL,
    SPARK_3: SPARK_3,
    SPARK_3_5: SPARK_3_5,
    SPARK_4_1: SPARK_4_1,
}


class State(StrEnum):
    """Athena's ``WorkGroupState``."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkGroup:
    """One row of ``workgroups``."""

    name: str
    state: State
    description: str | None
    #: Athena's ``WorkGroupConfiguration`` as GetWorkGroup answers it.
    configuration: Mapping[str, Any]
    created_at: datetime

    @property
    def engine_version(self) -> str:
        return str(self.configuration["EngineVersion"]["EffectiveEngineVersion"])

    @property
    def output_location(self) -> str | None:
        """Where outputs go, without a final slash; None: the server's default."""
        location = self.configuration.get("ResultConfiguration", {}).get("OutputLocation")
        return location.rstrip("/") if location else None


def require_spark(work_group: WorkGroup) -> None:
    """Raise unless sessions may start in the workgroup. The texts are Athena's."""
    if work_group.state is State.DISABLED:
        raise InvalidRequest(f"WorkGroup {work_group.name} is disabled.")
    if work_group.engine_version not in SPARK_ENGINES:
        raise InvalidRequest("Workgroup EngineVersion is not Spark.")


def built_in(at: datetime) -> tuple[WorkGroup, WorkGroup]:
    """The two workgroups of a new account: ``primary`` as AWS has it, and ``spark``.

    Neither names an output location, so the server's setting holds for both, also when it changes.
    """
    common = {
        "EnforceWorkGroupConfiguration": False,
        "PublishCloudWatchMetricsEnabled": False,
        "RequesterPaysEnabled": False,
        "EnableMinimumEncryptionConfiguration": False,
    }
    primary = common | {
        "ResultConfiguration": {},
        "EngineVersion": {
            "SelectedEngineVersion": AUTO,
            "EffectiveEngineVersion": ATHENA_SQL,
        },
    }
    spark = common | {
        "ResultConfiguration": {},
        "EngineVersion": {
            "SelectedEngineVersion": SPARK_4_1,
            "EffectiveEngineVersion": SPARK_4_1,
        },
    }
    return (
        WorkGroup(
            name="primary",
            state=State.ENABLED,
            description=None,
            configuration=primary,
            created_at=at,
        ),
        WorkGroup(
            name="spark",
            state=State.ENABLED,
            description="Sessions on Apache Spark 4.1",
            configuration=spark,
            created_at=at,
        ),
    )

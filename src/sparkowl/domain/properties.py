"""Which Spark properties a session may set, and which of them a running driver can take.

An allow list, not a deny list: a property that a later Spark adds is refused until somebody looked
at it. Keys that do not start with ``spark.`` are ignored, as Athena does; one that is refused makes
the session FAILED, as Athena does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Settable on a running SparkSession, so a warm driver can take them.
_AT_RUN_TIME: Final = (
    "spark.sql.adaptive.",
    "spark.sql.ansi.",
    "spark.sql.avro.",
    "spark.sql.broadcastTimeout",
    "spark.sql.autoBroadcastJoinThreshold",
    "spark.sql.caseSensitive",
    "spark.sql.catalog.",
    "spark.sql.csv.",
    "spark.sql.execution.arrow.",
    "spark.sql.files.",
    "spark.sql.inMemoryColumnarStorage.",
    "spark.sql.iceberg.",
    "spark.sql.json.",
    "spark.sql.legacy.",
    "spark.sql.mapKeyDedupPolicy",
    "spark.sql.optimizer.",
    "spark.sql.orc.",
    "spark.sql.parquet.",
    "spark.sql.repl.eagerEval.",
    "spark.sql.session.timeZone",
    "spark.sql.shuffle.partitions",
    "spark.sql.sources.",
    "spark.sql.storeAssignmentPolicy",
    "spark.sql.timestampType",
)
#: Fixed when the driver is launched, so they need a driver of their own.
_AT_LAUNCH: Final = (
    "spark.authenticate",
    "spark.default.parallelism",
    "spark.dynamicAllocation.",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.executor.memory",
    "spark.hadoop.aws.glue.",
    "spark.hadoop.fs.s3.useRequesterPaysHeader",
    "spark.hadoop.hive.metastore.glue.catalogid",
    "spark.io.compression.",
    "spark.io.encryption.",
    "spark.jars.packages",
    "spark.kryo.",
    "spark.kryoserializer.",
    "spark.locality.",
    "spark.network.crypto.",
    "spark.rdd.compress",
    "spark.scheduler.mode",
    "spark.serializer",
    "spark.speculation",
    "spark.sql.extensions",
    "spark.task.",
)
#: Cannot be switched off: the loopback ports of a driver ask for its secret.
_PINNED_FALSE: Final = {"spark.authenticate": "false"}


#: The rest of a name is free where the list has a prefix, so at least it must be a name: no line
#: break or ``=`` that a properties file would take for its own.
_NAME: Final = re.compile(r"[A-Za-z0-9_.:$-]+")


@dataclass(frozen=True, slots=True)
class Review:
    """What becomes of a session's properties."""

    at_launch: Mapping[str, str]
    at_run_time: Mapping[str, str]
    #: Keys that may not be set, in order.
    refused: tuple[str, ...]

    @property
    def refusal(self) -> str:
        """The StateChangeReason of a session that asked for too much."""
        keys = ", ".join(self.refused)
        return f"Spark properties that cannot be set in a session: {keys}"


def review(properties: Mapping[str, str]) -> Review:
    """Sort the properties of a StartSession."""
    at_launch: dict[str, str] = {}
    at_run_time: dict[str, str] = {}
    refused: list[str] = []
    for key, value in sorted(properties.items()):
        # Java trims keys, and Spark's look-up is by the exact key: judge what Spark would see.
        name = key.strip()
        if not name.startswith("spark."):
            continue
        pinned = _PINNED_FALSE.get(name) == value.strip().lower()
        if pinned or _NAME.fullmatch(name) is None:
            refused.append(name)
        elif _listed(name, _AT_RUN_TIME):
            at_run_time[name] = value
        elif _listed(name, _AT_LAUNCH):
            at_launch[name] = value
        else:
            refused.append(name)
    return Review(at_launch, at_run_time, tuple(refused))


def _listed(name: str, allowed: tuple[str, ...]) -> bool:
    return any(
        name.startswith(entry) if entry.endswith(".") else name == entry for entry in allowed
    )

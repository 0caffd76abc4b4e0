"""Which jars fit a Spark: the Maven coordinates behind each name of ``sparkowl jars fetch``.

A line of Spark's (4.1, 4.0, 3.5) has one choice for each name, of versions that were looked at. The
Scala version is part of most names, Hadoop's decides S3A's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: What can be fetched.
NAMES: Final = ("s3a", "iceberg", "delta", "hudi", "postgresql")


class NoneFits(Exception):
    """There are no such jars for this Spark; the text says for which there are."""


def line_of(spark: str) -> str:
    """Of which line a version of Spark's is: ``4.1`` for ``4.1.4``."""
    return ".".join(spark.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Build:
    """A Spark as its jars tell: ``spark-core_2.13-4.1.4.jar``, ``hadoop-client-api-3.4.2.jar``."""

    spark: str
    scala: str
    hadoop: str

    @property
    def line(self) -> str:
        return line_of(self.spark)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """What to ask a Maven repository for, with all that it needs but for what is excluded."""

    packages: tuple[str, ...]
    #: ``group:artifact``, with ``*`` for any.
    excluded: tuple[str, ...] = ()
    #: Scala of ours (in ``agent/scala``) that is compiled against them, into a jar beside them.
    compiled: tuple[str, ...] = ()


# --- the table -----------------------------------------------------------------------------------

#: Iceberg's runtime is one jar per line of Spark's. 1.11.0 is the first version that has one for
#: 4.1, and has them for all three lines, so that tables look alike to each.
_ICEBERG: Final = {"4.1": "1.11.0", "4.0": "1.11.0", "3.5": "1.11.0"}

#: Since 4.1 Delta's artifact names the line it was built for; 3.3 is the newest for Spark 3.5.
_DELTA: Final = {
    "4.1": "io.delta:delta-spark_4.1_{scala}:4.4.0",
    "4.0": "io.delta:delta-spark_4.0_{scala}:4.4.0",
    "3.5": "io.delta:delta-spark_{scala}:3.3.2",
}
#: Delta's client of Unity Catalog, which only its own catalogue class uses.
_NOT_DELTAS: Final = ("io.unitycatalog:*",)
#: Delta's log in a folder, where two sessions write at once.
_DELTAS_LOG: Final = ("FolderLogStore.scala",)

#: The newest bundle of each line that Hudi has one for.
_HUDI: Final = {"3.5": "org.apache.hudi:hudi-spark{line}-bundle_{scala}:1.2.0"}

#: Spark's binding to S3A's committers; no other part of it is used, so the last released version
#: of the line does for every other one.
_CLOUD: Final = {"4.1": "4.1.2", "4.0": "4.0.2", "3.5": "3.5.8"}

#: The AWS SDK that a Hadoop was built with (``aws-java-sdk-v2.version`` in hadoop-project's pom).
_SDK: Final = {"3.4.0": "2.23.19", "3.4.1": "2.24.6", "3.4.2": "2.29.52", "3.4.3": "2.35.4"}
#: Its modules that S3A uses, instead of the bundle of all of AWS (640 MB): see docs/decisions.
_SDK_MODULES: Final = (
    "s3",
    "s3-transfer-manager",
    "sts",
    "apache-client",
    "netty-nio-client",
)
#: What spark-hadoop-cloud asks for beside S3A, and logging and networking that Spark has.
_NOT_S3AS: Final = (
    "software.amazon.awssdk:bundle",
    "org.apache.hadoop:hadoop-azure*",
    "org.apache.hadoop:hadoop-cloud*",
    "org.apache.hadoop:hadoop-gcp",
    "org.apache.hadoop:hadoop-client*",
    "org.apache.hadoop:hadoop-huaweicloud",
    "org.apache.hadoop:hadoop-openstack",
    "com.google.cloud*:*",
    "com.fasterxml.jackson*:*",
    "com.microsoft.azure*:*",
    "com.squareup.*:*",
    "org.eclipse.jetty:*",
    "io.netty:*",
    "joda-time:*",
)

#: Java 8 and newer, PostgreSQL 8.4 and newer.
_POSTGRESQL: Final = "org.postgresql:postgresql:42.7.14"


_LINES: Final[Mapping[str, Mapping[str, str]]] = {
    "iceberg": _ICEBERG,
    "delta": _DELTA,
    "hudi": _HUDI,
    "s3a": _CLOUD,
}


def require_line(name: str, spark: str) -> None:
    """:class:`NoneFits` when a name has nothing for the line of this version of Spark's."""
    lines, line = _LINES.get(name), line_of(spark)
    if lines is not None and line not in lines:
        raise NoneFits(f"there are no {name} jars for Spark {line}, only for {' and '.join(lines)}")


def coordinates(name: str, build: Build) -> Coordinates:
    """What fits; :class:`NoneFits` when nothing does, or when the Spark is of no line we know.

    ``name`` is one of :data:`NAMES`.
    """
    if name == "postgresql":
        return Coordinates((_POSTGRESQL,), ("org.checkerframework:*",))
    if name == "s3a":
        return _s3a(build)
    if name == "iceberg":
        version = _of_line(name, _ICEBERG, build)
        return Coordinates(
            (f"org.apache.iceberg:iceberg-spark-runtime-{build.line}_{build.scala}:{version}",)
        )
    if name == "delta":
        return Coordinates((_package(name, _DELTA, build),), _NOT_DELTAS, _DELTAS_LOG)
    return Coordinates((_package(name, _HUDI, build),))


def _s3a(build: Build) -> Coordinates:
    cloud = _of_line("s3a", _CLOUD, build)
    packages = [
        f"org.apache.hadoop:hadoop-aws:{build.hadoop}",
        f"org.apache.spark:spark-hadoop-cloud_{build.scala}:{cloud}",
    ]
    sdk = _SDK.get(build.hadoop)
    if sdk is not None:
        packages += [f"software.amazon.awssdk:{module}:{sdk}" for module in _SDK_MODULES]
    elif not re.match(r"3\.3\.", build.hadoop):
        raise NoneFits(
            f"Hadoop {build.hadoop} is in Spark {build.spark}, and the AWS SDK that fits is known "
            f"only for Hadoop 3.3 and {', '.join(_SDK)}"
        )
    return Coordinates(tuple(packages), _NOT_S3AS)


def _package(name: str, lines: Mapping[str, str], build: Build) -> str:
    return _of_line(name, lines, build).format(line=build.line, scala=build.scala)


def _of_line(name: str, lines: Mapping[str, str], build: Build) -> str:
    require_line(name, build.spark)
    return lines[build.line]

"""Which jars fit which Spark."""

from __future__ import annotations

import pytest

from sparkowl.domain.coordinates import NAMES, Build, NoneFits, coordinates

SPARK_4_1 = Build(spark="4.1.4", scala="2.13", hadoop="3.4.2")
SPARK_4_0 = Build(spark="4.0.1", scala="2.13", hadoop="3.4.1")
SPARK_3_5 = Build(spark="3.5.8", scala="2.12", hadoop="3.3.4")


@pytest.mark.parametrize(
    ("name", "build", "first"),
    [
        ("iceberg", SPARK_4_1, "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0"),
        ("iceberg", SPARK_4_0, "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0"),
        ("iceberg", SPARK_3_5, "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.11.0"),
        ("delta", SPARK_4_1, "io.delta:delta-spark_4.1_2.13:4.4.0"),
        ("delta", SPARK_4_0, "io.delta:delta-spark_4.0_2.13:4.4.0"),
        ("delta", SPARK_3_5, "io.delta:delta-spark_2.12:3.3.2"),
        ("hudi", SPARK_3_5, "org.apache.hudi:hudi-spark3.5-bundle_2.12:1.2.0"),
        ("s3a", SPARK_4_1, "org.apache.hadoop:hadoop-aws:3.4.2"),
        ("s3a", SPARK_3_5, "org.apache.hadoop:hadoop-aws:3.3.4"),
        ("postgresql", SPARK_4_1, "org.postgresql:postgresql:42.7.14"),
    ],
)
def test_each_spark_has_its_own(name: str, build: Build, first: str) -> None:
    assert coordinates(name, build).packages[0] == first


def test_s3a_has_the_modules_of_the_sdk_that_its_hadoop_was_built_with() -> None:
    found = coordinates("s3a", SPARK_4_1)

    assert "software.amazon.awssdk:s3:2.29.52" in found.packages
    assert "org.apache.spark:spark-hadoop-cloud_2.13:4.1.2" in found.packages
    assert "software.amazon.awssdk:bundle" in found.excluded
    old = coordinates("s3a", SPARK_3_5)
    assert not [package for package in old.packages if "awssdk" in package]
    assert "com.amazonaws:aws-java-sdk-bundle" not in old.excluded


@pytest.mark.parametrize("build", [SPARK_4_1, SPARK_4_0])
def test_hudi_is_refused_where_it_has_no_bundle(build: Build) -> None:
    with pytest.raises(NoneFits, match=rf"no hudi jars for Spark {build.line}, only for 3\.5"):
        coordinates("hudi", build)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "postgresql"])
def test_a_spark_that_nobody_looked_at_is_refused(name: str) -> None:
    with pytest.raises(NoneFits, match=r"Spark 5\.0"):
        coordinates(name, Build(spark="5.0.0", scala="2.13", hadoop="3.4.2"))


def test_a_hadoop_whose_sdk_is_not_known_is_refused() -> None:
    with pytest.raises(NoneFits, match=r"Hadoop 3\.9\.0"):
        coordinates("s3a", Build(spark="4.1.4", scala="2.13", hadoop="3.9.0"))

"""Which formats a session's properties ask for, and what they become here."""

from __future__ import annotations

import pytest
from tests.domain.test_properties import DELTA, HUDI, ICEBERG

from sparkowl.domain.formats import adapted, needed

CATALOG = "spark.sql.catalog.spark_catalog"
METASTORE = {"spark.hadoop.hive.metastore.uris": "thrift://127.0.0.1:9083"}
WAREHOUSE = "s3://results/warehouse"


def adapt(properties: dict[str, str], *, glue: bool = False) -> dict[str, str]:
    return adapted(properties, warehouse=WAREHOUSE, glue=glue)


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        (ICEBERG, ("iceberg",)),
        (DELTA, ("delta",)),
        (HUDI, ("hudi",)),
        ({**DELTA, "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog"},
         ("delta", "iceberg")),
        ({"spark.sql.extensions": "x.Y, io.delta.sql.DeltaSparkSessionExtension"}, ("delta",)),
        ({"spark.sql.extensions": "x.Y,org.apache.hudi.Z"}, ("hudi",)),
        ({"spark.sql.catalog.jdbc": "org.apache.spark.sql.execution.JDBCTableCatalog"}, ()),
        ({"spark.sql.extensions": "my.io.delta.Other"}, ()),
        ({}, ()),
    ],
)  # fmt: skip
def test_classes_that_are_named_need_their_jars(
    properties: dict[str, str], names: tuple[str, ...]
) -> None:
    assert needed(properties) == names


@pytest.mark.parametrize(
    "own",
    [
        {"spark.jars.packages": "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.9.2"},
        {"spark.jars": "s3://jars/iceberg-spark-runtime-4.1_2.13-1.11.0.jar"},
    ],
)
def test_jars_that_a_session_brings_itself_are_not_needed(own: dict[str, str]) -> None:
    assert needed({**ICEBERG, **own}) == ()
    assert needed({**DELTA, **own}) == ("delta",)


def test_glues_catalogue_becomes_the_metastore_where_there_is_one() -> None:
    assert adapt({**ICEBERG, **METASTORE}) == {
        CATALOG: ICEBERG[CATALOG],
        f"{CATALOG}.io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
        f"{CATALOG}.type": "hive",
        "spark.sql.extensions": ICEBERG["spark.sql.extensions"],
        **METASTORE,
    }


def test_without_a_metastore_tables_are_kept_under_the_output_location() -> None:
    found = adapt(ICEBERG)

    assert found[f"{CATALOG}.type"] == "hadoop"
    assert found[f"{CATALOG}.warehouse"] == WAREHOUSE
    assert f"{CATALOG}.catalog-impl" not in found


def test_a_warehouse_that_was_named_stays() -> None:
    lake = "spark.sql.catalog.lake"
    asked = {lake: "x", f"{lake}.type": "glue", f"{lake}.warehouse": "s3://lake/tables"}

    assert adapt(asked) == {**asked, f"{lake}.type": "hadoop"}


def test_a_lock_of_awss_goes_with_its_catalogue() -> None:
    lake = "spark.sql.catalog.lake"
    asked = {
        f"{lake}.lock-impl": "org.apache.iceberg.aws.dynamodb.DynamoDbLockManager",
        f"{lake}.lock.table": "locks",
    }

    assert adapt(asked) == {}
    other = asked | {f"{lake}.lock-impl": "org.apache.iceberg.util.LockManagers"}
    assert adapt(other) == other


@pytest.mark.parametrize("properties", [ICEBERG, {**ICEBERG, **METASTORE}])
def test_nothing_is_replaced_where_glue_itself_is_there(properties: dict[str, str]) -> None:
    assert adapt(properties, glue=True) == properties


@pytest.mark.parametrize("properties", [DELTA, HUDI, {"spark.sql.catalog.x.type": "rest"}])
def test_everything_else_stays_as_it_was(properties: dict[str, str]) -> None:
    assert adapt(properties) == properties

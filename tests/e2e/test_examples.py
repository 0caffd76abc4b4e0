"""The examples, as a newcomer runs them; and the block that dbt sends, without dbt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.conftest import Server, User

#: Clients that look once in some seconds, and several sessions one after the other.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def run(server: Server, example: str) -> str:
    """What the example prints, with nothing set but what ``sparkowl env`` says."""
    found = subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        env=server.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_flights_example_runs_on_the_whole_data_set(server: Server) -> None:
    shown = run(server, "flights.py")

    assert "336,776 flights" in shown
    assert "|Frontier Airlines Inc.     |681    |21.9" in shown
    assert "s3://flights/delays/part-00000" in shown


def test_awswrangler_writes_what_spark_reads_and_reads_what_spark_writes(server: Server) -> None:
    shown = run(server, "awswrangler_spark.py")

    assert shown.count("  s3://wrangler/orders/country=") == 3
    assert "read 6 from the file, 6 from the data set, 3 of them from Japan" in shown
    assert "calculation COMPLETED\n6 orders, partitioned by country\n" in shown
    assert "     jp       3  87.51\n" in shown
    assert shown.endswith("3 objects of orders\n0 are left after delete_objects\n")


def test_pyathenas_spark_cursors_run_the_blocks_of_their_documentation(server: Server) -> None:
    shown = run(server, "pyathena_spark.py")

    group = "|       2|              2|   94|"
    assert shown.count(group) == 2, "the data frame, and the table made of it"
    assert "Write to s3 complete\n" in shown
    assert "|           1|           791.9|" in shown
    assert "|spark_demo_database|\n" in shown
    assert "|spark_demo_database|select_taxi_table|      false|" in shown
    assert "COMPLETED 100% s3://sparkowl-results/" in shown
    assert "|    42|" in shown
    assert shown.endswith("ended by cancel: CANCELED\n")


#: In the form of dbt-athena 1.11: the model, dbt's own names around it, and the writer. The empty
#: options stand in it as ``None`` and ``'None'``.
MODEL: Final = """import pyspark


def model(dbt, spark_session):
    dbt.config(materialized="table")
    return dbt.ref("orders").groupBy("country").sum("price")


# This part is user provided model code
# you will need to copy the next section to run the code
# COMMAND ----------
# this part is dbt logic for get ref work, do not modify

def ref(*args, **kwargs):
    refs = {"orders": "dbt_schema.orders"}
    return kwargs.get("dbt_load_df_function")(refs[".".join(args)])


config_dict = {}


class config:
    def __init__(self, *args, **kwargs):
        pass

    @staticmethod
    def get(key, default=None):
        return config_dict.get(key, default)


class this:
    database = "awsdatacatalog"
    schema = "dbt_schema"
    identifier = "totals"

    def __repr__(self):
        return "dbt_schema.totals"


class dbtObj:
    def __init__(self, load_df_function) -> None:
        self.ref = lambda *args: ref(*args, dbt_load_df_function=load_df_function)
        self.config = config
        self.this = this()
        self.is_incremental = False


def materialize(spark_session, df, target_relation):
    import pandas
    try:
        if isinstance(df, pyspark.sql.dataframe.DataFrame):
            pass
        elif isinstance(df, pandas.core.frame.DataFrame):
            df = spark_session.createDataFrame(df)
        else:
            raise Exception(f"{type(df)} is not a supported type for dbt Python materialization")
        writer = df.write \\
        .format("parquet") \\
        .mode("overwrite") \\
        .option("path", "s3://dbt-lake/dbt_schema/totals/4f1c") \\
        .option("compression", "snappy") \\
        .option("mergeSchema", "True") \\
        .option("delimiter", "None")
        if None is not None:
            writer = writer.partitionBy(None)
        writer.saveAsTable(
            name="dbt_schema.totals",
        )
        return "OK"
    except Exception:
        raise


dbt = dbtObj(spark.table)
df = model(dbt, spark)
materialize(spark, df, dbt.this)
"""

SOURCE: Final = """
spark.sql("create schema if not exists dbt_schema location 's3://dbt-lake/dbt_schema'")
(spark.createDataFrame([("jp", 3), ("is", 10), ("jp", 24)], ["country", "price"])
    .write.mode("overwrite").saveAsTable("dbt_schema.orders"))
"""

LOOK: Final = """
spark.table("dbt_schema.totals").orderBy("country").show()
spark.sql("describe table extended dbt_schema.totals").where("col_name = 'Location'").show(1, False)
"""


def test_a_python_model_of_dbt_becomes_a_table_over_its_location(user: User) -> None:
    """Twice, as its second run does: the table is there, and its location has files."""
    user.s3.create_bucket(Bucket="dbt-lake")
    session = user.session(
        Description="dbt: 9d2f - 5eb6",
        EngineConfiguration={
            "CoordinatorDpuSize": 1,
            "MaxConcurrentDpus": 2,
            "DefaultExecutorDpuSize": 1,
            "SparkProperties": {},
        },
        SessionIdleTimeoutInMinutes=10,
    )

    made = user.run(session, SOURCE)
    ends = [user.run(session, MODEL) for _ in range(2)]
    _, shown, _ = user.run(session, LOOK)

    assert made[0]["Status"]["State"] == "COMPLETED", made[2]
    for found, _, stderr in ends:
        assert found["Status"]["State"] == "COMPLETED", stderr
        assert found["Result"]["StdErrorS3Uri"]
    assert "|     is|        10|\n|     jp|        27|\n" in shown
    assert "s3://dbt-lake/dbt_schema/totals/4f1c" in shown
    listed = user.s3.list_objects_v2(Bucket="dbt-lake", Prefix="dbt_schema/totals/4f1c/part-")
    assert listed["Contents"]
    assert all(item["Key"].endswith(".snappy.parquet") for item in listed["Contents"])
    user.end(session)

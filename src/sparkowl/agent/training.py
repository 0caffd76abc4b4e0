"""What a Spark does while the archive maker watches: the first things that sessions do.

Started by :mod:`.archive` in a scratch folder; the JVM's command line comes on standard input. The
classes that these lines load are those that every later session finds ready.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sparkowl.agent import jvm


def main() -> None:
    scratch = Path.cwd()
    gateway = scratch / "gateway"
    argv = json.loads(sys.stdin.read())
    environment = os.environ | {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(gateway)}
    machine = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE)
    while (found := jvm.gateway(gateway)) is None:
        if machine.poll() is not None:
            sys.exit(f"The training JVM ended with status {machine.returncode}.")
        time.sleep(0.05)
    port, secret = found
    os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    _use_spark()
    assert machine.stdin is not None
    machine.stdin.close()
    # The class list is complete only when the JVM has ended by itself.
    sys.exit(machine.wait(timeout=60))


def _use_spark() -> None:
    from pyspark.sql import SparkSession, functions

    spark = SparkSession.builder.getOrCreate()
    spark.range(1_000_000).selectExpr("sum(id)").collect()
    rows = spark.range(1000).selectExpr("id % 7 as k", "id as v", "cast(id as string) as s")
    for path in ("s3://training/rows", "s3a://training/rows"):
        rows.write.mode("overwrite").parquet(path)
        read = spark.read.parquet(path)
        read.groupBy("k").agg(functions.sum("v"), functions.avg("v")).orderBy("k").collect()
    rows.write.mode("overwrite").partitionBy("k").option("header", "true").csv("s3://training/csv")
    spark.read.option("header", "true").option("inferSchema", "true").csv(
        "s3://training/csv"
    ).count()
    rows.write.mode("overwrite").json("s3://training/json")
    spark.read.json("s3://training/json").limit(3).collect()
    _use_sql(spark)


def _use_sql(spark: Any) -> None:
    frame = spark.createDataFrame([(1, "a"), (2, "b")], ["id", "name"])
    frame.createOrReplaceTempView("names")
    spark.sql("select name, count(*) as n from names group by name order by n desc").show()
    frame.join(spark.range(10), "id").withColumnRenamed("name", "n").toPandas()
    spark.sql("create table if not exists numbers using parquet as select 1 as one")
    spark.sql("select * from numbers").show()
    spark.sql("show tables").show()
    spark.sql("describe table numbers").collect()
    spark.sql("drop table numbers")


if __name__ == "__main__":
    main()

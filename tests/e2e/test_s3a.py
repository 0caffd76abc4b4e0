"""Spark on a real S3 service, with the properties and the jars that its drivers get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from benchmarks.s3a import BUCKET, profile, real, spark
from tests.maven import fetch
from tests.seaweed import SeaweedFS

from sparkowl.config import Settings
from sparkowl.launchers import s3a
from sparkowl.launchers.jars import Jars

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


#: One Spark for all of it: a start costs most of the time.
_SCRIPT: Final = f"""
import json
from pyspark.sql import SparkSession, functions
spark = SparkSession.builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")
told = {{}}
rows = spark.range(0, 1000, 1, 2).selectExpr("id", "id % 3 as k")
for scheme in ("s3", "s3a"):
    at = f"{{scheme}}://{BUCKET}/{{scheme}}"
    rows.write.parquet(f"{{at}}/rows")
    rows.limit(10).write.mode("overwrite").parquet(f"{{at}}/rows")
    rows.limit(20).coalesce(1).write.partitionBy("k").csv(f"{{at}}/parts")
    told[scheme] = [
        spark.read.parquet(f"{{at}}/rows").count(),
        spark.read.csv(f"{{at}}/parts").where("k = 1").count(),
    ]

at = "s3://{BUCKET}/dynamic"
rows.limit(3).write.partitionBy("k").parquet(at)
protocol = "org.apache.spark.sql.execution.datasources.SQLHadoopMapReduceCommitProtocol"
spark.conf.set("spark.sql.sources.commitProtocolClass", protocol)
committer = "org.apache.parquet.hadoop.ParquetOutputCommitter"
spark.conf.set("spark.sql.parquet.output.committer.class", committer)
spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
rows.where("k = 1").limit(5).write.mode("overwrite").partitionBy("k").parquet(at)
told["dynamic"] = spark.read.parquet(at).count()
for key in ("sources.commitProtocolClass", "parquet.output.committer.class"):
    spark.conf.unset(f"spark.sql.{{key}}")

bad = functions.udf(lambda id: 1 // (id - 999))
try:
    rows.select(bad("id").alias("id")).write.parquet("s3://{BUCKET}/failed")
except Exception as error:
    told["failed"] = "ZeroDivisionError" in str(error)
print(json.dumps(told))
"""


def test_files_are_written_whole_read_replaced_and_not_left_by_a_job_that_fails(
    seaweed: SeaweedFS, tmp_path: Path
) -> None:
    fetch(s3a.NAME)
    client = seaweed.client()
    client.create_bucket(Bucket=BUCKET)
    jars = Jars(cache_dir=Settings().cache_dir).class_path([s3a.NAME], None)

    said = spark(real(seaweed), {"class_path": jars}, profile(tmp_path / "credentials"), _SCRIPT)

    told = json.loads(said.splitlines()[-1])
    assert told == {"s3": [10, 7], "s3a": [10, 7], "dynamic": 7, "failed": True}
    listed = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    keys = [entry["Key"] for entry in listed if entry["Size"]]
    assert not [key for key in keys if key.startswith("failed/") or "__magic" in key]
    success = client.get_object(Bucket=BUCKET, Key="s3/rows/_SUCCESS")["Body"].read()
    assert json.loads(success)["committer"] == "magic"
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")

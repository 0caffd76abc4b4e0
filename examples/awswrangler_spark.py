"""Pandas writes, Spark counts, pandas reads: one table on its way through awswrangler.

Run it against a running server:

    pip install awswrangler
    eval "$(sparkowl env)"
    python examples/awswrangler_spark.py

The calls are those of its documentation; only the environment says where to. awswrangler looks
every five seconds whether a session or a calculation is ready.
"""

import awswrangler as wr
import boto3
import pandas as pd

BUCKET = "wrangler"

TOTALS = f"""
orders = spark.read.parquet("s3://{BUCKET}/orders/")

from pyspark.sql import functions as F

totals = orders.groupBy("country").agg(
    F.count("*").alias("orders"), F.round(F.sum("price"), 2).alias("total")
)
totals.write.mode("overwrite").parquet("s3://{BUCKET}/totals/")
print(f"{{orders.count()}} orders, partitioned by {{orders.columns[-1]}}")
"""


def write() -> None:
    """One file, and a data set with a folder for each country."""
    orders = pd.DataFrame(
        {
            "id": range(1, 7),
            "price": [9.99, 24.5, 3.0, 120.0, 7.25, 60.01],
            "country": ["is", "jp", "jp", "is", "br", "jp"],
        }
    )
    wr.s3.to_parquet(df=orders, path=f"s3://{BUCKET}/one/orders.parquet")
    written = wr.s3.to_parquet(
        df=orders,
        path=f"s3://{BUCKET}/orders/",
        dataset=True,
        mode="overwrite",
        partition_cols=["country"],
    )
    print("written", *written["paths"], sep="\n  ")

    one = wr.s3.read_parquet(f"s3://{BUCKET}/one/orders.parquet")
    all_of_it = wr.s3.read_parquet(f"s3://{BUCKET}/orders/", dataset=True)
    japan = wr.s3.read_parquet(
        f"s3://{BUCKET}/orders/",
        dataset=True,
        partition_filter=lambda partition: partition["country"] == "jp",
    )
    print("read", len(one), "from the file,", len(all_of_it), "from the data set,", end=" ")
    print(len(japan), "of them from Japan")


def compute() -> None:
    session = wr.athena.create_spark_session(workgroup="spark", max_concurrent_dpus=10)
    print("session", session, flush=True)
    try:
        done = wr.athena.run_spark_calculation(code=TOTALS, workgroup="spark", session_id=session)
        print("calculation", done["Status"]["State"])
        bucket, _, key = done["Result"]["StdOutS3Uri"].removeprefix("s3://").partition("/")
        print(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode(), end="")
    finally:
        # awswrangler ends no session; it would end by itself after 15 idle minutes.
        boto3.client("athena").terminate_session(SessionId=session)


def main() -> None:
    if BUCKET not in wr.s3.list_buckets():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
    write()
    compute()

    totals = wr.s3.read_parquet(f"s3://{BUCKET}/totals/", dataset=True)
    print(totals.sort_values("country").to_string(index=False))

    print(len(wr.s3.list_objects(f"s3://{BUCKET}/orders/*.parquet")), "objects of orders")
    wr.s3.delete_objects(f"s3://{BUCKET}/orders/")
    print(len(wr.s3.list_objects(f"s3://{BUCKET}/orders/")), "are left after delete_objects")


if __name__ == "__main__":
    main()

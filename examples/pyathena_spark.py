"""PyAthena's Spark cursors: data frames, SQL and tables, and a calculation in the background.

Run it against a running server:

    pip install PyAthena
    eval "$(sparkowl env)"
    python examples/pyathena_spark.py

These are the examples of its documentation, with taxi rides that are made here.
"""

import random
from textwrap import dedent

import boto3
from pyathena import connect
from pyathena.spark.async_cursor import AsyncSparkCursor
from pyathena.spark.cursor import SparkCursor

BUCKET = "taxis"
RIDES = 1_000


def upload() -> None:
    """Rides with the columns that the documentation's blocks use, the same at each run."""
    s3 = boto3.client("s3")
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)
    lines = ["VendorID,passenger_count,DOLocationID,total_amount"]
    dice = random.Random(2016)
    for _ in range(RIDES):
        who = f"{dice.choice((1, 2))},{dice.randint(1, 6)}"
        lines.append(f"{who},{dice.randint(1, 30)},{dice.uniform(3, 60):.2f}")
    s3.put_object(Bucket=BUCKET, Key="rides.csv", Body="\n".join(lines).encode())


def data_frames(cursor: SparkCursor) -> None:
    cursor.execute(
        dedent(
            f"""
            file_name = "s3://{BUCKET}/rides.csv"

            taxi_df = (spark.read.format("csv")
                 .option("header", "true")
                 .option("inferSchema", "true")
                 .load(file_name))
            """
        )
    )
    cursor.execute(
        dedent(
            """
            taxi1_df = taxi_df.groupBy("VendorID", "passenger_count").count()
            taxi1_df.show()
            """
        )
    )
    print(cursor.get_std_out())
    cursor.execute(
        dedent(
            f"""
            taxi1_df.coalesce(1).write.mode('overwrite').csv("s3://{BUCKET}/select_taxi")
            print("Write to s3 " + "complete")
            """
        )
    )
    print(cursor.get_std_out())


def tables(cursor: SparkCursor) -> None:
    """In the same session, which still has the frame."""
    cursor.execute(
        dedent(
            """
            taxi_df.createOrReplaceTempView("taxis")

            sqlDF = spark.sql('''
                SELECT DOLocationID, round(sum(total_amount), 2) AS sum_total_amount
                FROM taxis WHERE DOLocationID < 25 GROUP BY DOLocationID ORDER BY DOLocationID
            ''')
            sqlDF.show(50)
            """
        )
    )
    print(cursor.get_std_out())
    cursor.execute(
        dedent(
            """
            spark.sql("create database if not exists spark_demo_database")
            spark.sql("show databases").show()
            """
        )
    )
    print(cursor.get_std_out())
    cursor.execute(
        dedent(
            f"""
            spark.sql("use spark_demo_database")
            taxi1_df = taxi_df.groupBy("VendorID", "passenger_count").count()
            (taxi1_df.write.mode("overwrite").format("parquet")
                .option("path", "s3://{BUCKET}/select_taxi")
                .saveAsTable("select_taxi_table"))
            print("Create new table" + " complete")
            """
        )
    )
    print(cursor.get_std_out())
    cursor.execute("""spark.sql("show tables").show()""")
    print(cursor.get_std_out())
    cursor.execute("""spark.sql("select * from select_taxi_table").show()""")
    print(cursor.get_std_out())


def in_the_background() -> None:
    connection = connect(work_group="spark", cursor_class=AsyncSparkCursor)
    with connection.cursor() as cursor:
        calculation, future = cursor.execute("""spark.sql("SELECT 6 * 7 AS answer").show()""")
        print("started", calculation, flush=True)
        execution = future.result()
        print(execution.state, execution.progress, execution.std_out_s3_uri)
        print(cursor.get_std_out(execution).result())

        calculation, future = cursor.execute("import time\nwhile True: time.sleep(0.1)")
        cursor.cancel(calculation).result()
        print("ended by cancel:", future.result().state)


def main() -> None:
    upload()
    connection = connect(work_group="spark", cursor_class=SparkCursor)
    # The cursor's session ends with the block.
    with connection.cursor() as cursor:
        data_frames(cursor)
        tables(cursor)
    in_the_background()


if __name__ == "__main__":
    main()

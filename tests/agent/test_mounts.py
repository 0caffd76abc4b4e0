"""``s3://`` and ``s3a://`` on folders: with real Spark, and a bucket that is made later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.agent.conftest import Driver

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "orc"])
def test_a_frame_comes_back_as_it_was_written(driver: Driver, scheme: str, kind: str) -> None:
    path = f"{scheme}://lake/{kind}-{scheme}"
    done = driver.run(
        f"f = spark.range(100).selectExpr('id', 'id % 3 as part')\n"
        f"f.write.mode('overwrite').partitionBy('part').{kind}('{path}')\n"
        f"back = spark.read.schema('id bigint, part int').{kind}('{path}')\n"
        "[tuple(r) for r in back.groupBy('part').count().orderBy('part').collect()]"
    )
    assert done.outcome == "completed", done.stderr
    assert done.value == "[(0, 34), (1, 33), (2, 33)]"
    folder = driver.buckets / "lake" / f"{kind}-{scheme}"
    assert {p.name for p in folder.iterdir()} == {"_SUCCESS", "part=0", "part=1", "part=2"}
    assert not [p for p in folder.rglob("*") if p.name.endswith(".crc")]


def test_a_table_lives_in_a_bucket(driver: Driver) -> None:
    done = driver.run(
        "spark.range(5).write.option('path', 's3://lake/numbers').saveAsTable('numbers')\n"
        "spark.sql('insert into numbers select 7')\n"
        "n = spark.table('numbers').count()\n"
        "where = spark.sql('describe formatted numbers').where(\"col_name = 'Location'\")\n"
        "n, where.first().data_type"
    )
    assert done.outcome == "completed", done.stderr
    assert done.value == "(6, 's3://lake/numbers')"


def test_a_table_without_a_place_lives_in_the_warehouse(driver: Driver) -> None:
    done = driver.run(
        "spark.sql('create table own using parquet as select 1 as one')\nspark.table('own').count()"
    )
    assert done.outcome == "completed", done.stderr
    assert (driver.run_dir / "warehouse" / "own").is_dir()


def test_a_bucket_that_is_made_later_is_known_to_the_next_block(driver: Driver) -> None:
    code = (
        "spark.range(3).selectExpr('cast(id as string)').write.mode('overwrite')"
        ".text('s3a://later/x')\nspark.read.text('s3://later/x').count()"
    )
    too_early = driver.run(code)
    assert too_early.outcome == "failed"
    assert "NoSuchBucket" in too_early.stderr
    (driver.buckets / "later").mkdir()
    later = {"later": str(driver.buckets / "later")}
    done = driver.run(code, buckets=later)
    assert done.outcome == "completed", done.stderr
    assert done.value == "3"


def test_a_bucket_that_is_made_later_is_known_to_the_catalogue(driver: Driver) -> None:
    """Whose copy of the configuration is older than the bucket."""
    assert driver.run("spark.sql('show databases').collect()").outcome == "completed"
    (driver.buckets / "shop").mkdir()
    code = (
        "spark.sql(\"create database shop location 's3://shop/db'\")\n"
        "spark.range(3).write.saveAsTable('shop.orders')\nspark.table('shop.orders').count()"
    )
    done = driver.run(code, buckets={"shop": str(driver.buckets / "shop")})
    assert done.outcome == "completed", done.stderr
    assert done.value == "3"
    assert list((driver.buckets / "shop" / "db" / "orders").glob("part-*.parquet"))


def test_a_bucket_stays_known_to_the_context_after_a_stop(driver: Driver) -> None:
    (driver.buckets / "other").mkdir()
    other = {"other": str(driver.buckets / "other")}
    code = (
        "from pyspark.sql import SparkSession\nspark.stop()\n"
        "spark = SparkSession.builder.getOrCreate()\nsc = spark.sparkContext\n"
        "spark.range(3).write.mode('overwrite').parquet('s3://other/x')\n"
        "spark.read.parquet('s3://other/x').count()"
    )
    done = driver.run(code, buckets=other)
    assert done.outcome == "completed", done.stderr
    assert done.value == "3"


def test_a_stream_keeps_its_checkpoint_in_a_bucket(driver: Driver) -> None:
    done = driver.run(
        "spark.range(4).write.mode('overwrite').parquet('s3://lake/source')\n"
        "stream = spark.readStream.schema('id bigint').parquet('s3://lake/source')\n"
        "query = stream.writeStream.option('checkpointLocation', 's3a://lake/checkpoint')\n"
        "query.trigger(availableNow=True).format('parquet').start('s3://lake/copy')"
        ".awaitTermination()\n"
        "spark.read.parquet('s3://lake/copy').count()"
    )
    assert done.outcome == "completed", done.stderr
    assert done.value == "4"


def test_relative_paths_are_the_same_for_python_and_spark(driver: Driver) -> None:
    done = driver.run("open('x.txt', 'w').write('a\\nb\\n')\nspark.read.text('x.txt').count()")
    assert done.value == "2"

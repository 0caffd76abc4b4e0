"""Table formats as Athena switches them on, with the jars that ``sparkowl jars fetch`` fetches.

The jars stay in the user's cache, so that only the first run downloads them.
"""

from __future__ import annotations

import subprocess
from textwrap import dedent
from typing import Final

import pytest
from tests.domain.test_properties import DELTA, HUDI, ICEBERG
from tests.e2e.conftest import ENDED, GONE, SPARKOWL, User, wait_for
from tests.maven import fetch

pytestmark = [pytest.mark.spark, pytest.mark.timeout(400)]

#: Tables of three rows need no more.
SMALL: Final = {"spark.sql.shuffle.partitions": "1"}


def with_properties(properties: dict[str, str]) -> dict[str, object]:
    return {"EngineConfiguration": {"SparkProperties": SMALL | properties}}


def run(user: User, session: str, code: str) -> list[str]:
    """The lines that a block prints; it must succeed."""
    name = {"CalculationExecutionId": user.submit(session, dedent(code))}
    found = wait_for(
        lambda: user.athena.get_calculation_execution(**name),
        lambda seen: seen["Status"]["State"] in ENDED,
        within_s=300,
    )
    assert found["Status"]["State"] == "COMPLETED", user.read(found["Result"]["StdErrorS3Uri"])
    return user.read(found["Result"]["StdOutS3Uri"]).splitlines()


#: What both of the formats do alike.
MERGE: Final = """
    spark.conf.set("spark.databricks.delta.snapshotPartitions", 1)  # of three rows
    spark.sql("create table {name} (id bigint, word string) using {format} {at}")
    spark.sql("insert into {name} values (1, 'one'), (2, 'two')")
    spark.createDataFrame([(2, "zwei"), (3, "drei")], "id bigint, word string") \
        .createOrReplaceTempView("news")
    spark.sql('''
        merge into {name} as t using news as n on t.id = n.id
        when matched then update set t.word = n.word
        when not matched then insert *
    ''')
    spark.sql("delete from {name} where id = 1")
    print([tuple(row) for row in spark.sql("select * from {name} order by id").collect()])
"""
MERGED: Final = "[(2, 'zwei'), (3, 'drei')]"


def test_iceberg_merges_and_travels_in_time_with_athenas_properties(user: User) -> None:
    fetch("iceberg")
    session = user.session(**with_properties(ICEBERG))

    merged = run(user, session, MERGE.format(name="default.ice", format="iceberg", at=""))
    before = run(
        user,
        session,
        """
        first = spark.sql("select snapshot_id from default.ice.snapshots order by committed_at")
        then = f"select * from default.ice version as of {first.first()[0]} order by id"
        print([tuple(row) for row in spark.sql(then).collect()])
        print(spark.sql("describe extended default.ice").where("col_name = 'Location'").first()[1])
        """,
    )

    assert merged == [MERGED]
    assert before[0] == "[(1, 'one'), (2, 'two')]"
    assert before[1].startswith("s3://")
    user.end(session)


def test_delta_merges_and_travels_in_time_with_athenas_properties(user: User) -> None:
    fetch("delta")
    user.s3.create_bucket(Bucket="lake")
    session = user.session(**with_properties(DELTA))

    at = "location 's3://lake/delta'"
    merged = run(user, session, MERGE.format(name="default.rows", format="delta", at=at))
    before = run(
        user,
        session,
        """
        then = "select * from delta.`s3://lake/delta` version as of 1 order by id"
        print([tuple(row) for row in spark.sql(then).collect()])
        print(spark.sql("describe history delta.`s3://lake/delta`").count())
        """,
    )

    assert merged == [MERGED]
    assert before == ["[(1, 'one'), (2, 'two')]", "4"]
    listed = user.s3.list_objects_v2(Bucket="lake", Prefix="delta/_delta_log/")["Contents"]
    names = {entry["Key"].rpartition("/")[2] for entry in listed}
    assert {f"{version:020}.json" for version in range(4)} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    user.end(session)


def test_of_two_that_write_one_version_of_a_delta_table_only_one_does(user: User) -> None:
    fetch("delta")
    user.s3.create_bucket(Bucket="race")
    session = user.session(**with_properties(DELTA))

    lines = run(
        user,
        session,
        """
        from concurrent.futures import ThreadPoolExecutor
        java, conf = sc._jvm, sc._jsc.hadoopConfiguration()
        chosen = [spark.conf.get(f"spark.delta.logStore.{s}.impl") for s in ("s3", "s3a")]
        path = java.org.apache.hadoop.fs.Path("s3://race/_delta_log/00000000000000000000.json")
        path.getFileSystem(conf).mkdirs(path.getParent())

        def commit(word):
            lines = java.java.util.ArrayList()
            lines.add(word)
            try:
                # A store of its own for each, as two sessions have.
                java.sparkowl.delta.FolderLogStore(conf).write(path, lines.iterator(), False, conf)
            except Exception as error:
                return "FileAlreadyExistsException" in str(error)
            return word

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(commit, [f"w{n}" for n in range(8)]))
        won = [word for word in done if word is not True]
        print(chosen, len(won), won == [row.value for row in spark.read.text(str(path)).collect()])
        """,
    )

    assert lines == [f"{['sparkowl.delta.FolderLogStore'] * 2} 1 True"]
    listed = user.s3.list_objects_v2(Bucket="race", Prefix="_delta_log/0")["Contents"]
    assert len(listed) == 1
    user.end(session)


def test_two_formats_can_be_used_side_by_side(user: User) -> None:
    fetch("iceberg")
    fetch("delta")
    session = user.session(
        **with_properties(
            {
                **DELTA,
                "spark.sql.extensions": f"{DELTA['spark.sql.extensions']},"
                f"{ICEBERG['spark.sql.extensions']}",
                "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
                "spark.sql.catalog.lake.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
                "spark.sql.catalog.lake.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            }
        )
    )

    lines = run(
        user,
        session,
        """
        spark.range(3).write.format("delta").saveAsTable("default.three")
        spark.sql("create namespace if not exists lake.far")
        spark.table("default.three").writeTo("lake.far.three").using("iceberg").create()
        print(spark.table("lake.far.three").count())
        """,
    )

    assert lines == ["3"]
    user.end(session)


def test_hudi_has_no_jars_for_this_spark_and_says_so(user: User) -> None:
    done = subprocess.run(
        [SPARKOWL, "jars", "fetch", "hudi"], capture_output=True, text=True, check=False, timeout=60
    )
    session = user.start_session(**with_properties(HUDI))
    status = user.await_session(session, GONE)

    assert done.returncode == 1
    assert "there are no hudi jars for Spark 4.1, only for 3.5" in done.stderr
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"].startswith(
        "Session failed to start [SERVER] This session needs Hudi's jars, but there are no hudi "
        "jars for Spark 4.1, only for 3.5"
    )

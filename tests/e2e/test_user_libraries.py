"""Libraries and files that sessions bring along from buckets, on the real thing."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.conftest import GONE, Server, User, running
from tests.jars import jar
from tests.maven import fetch

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

BUCKET: Final = "libraries"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("libraries"), POOL__SIZE="0") as started:
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    made = User(server.client("athena"), server.client("s3"))
    made.s3.create_bucket(Bucket=BUCKET)
    return made


@pytest.fixture(scope="module")
def session(user: User) -> Iterator[str]:
    started = user.session()
    yield started
    user.end(started)


def put(user: User, key: str, content: str | bytes) -> str:
    user.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    return f"s3://{BUCKET}/{key}"


def archive(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return made.getvalue()


def with_properties(user: User, properties: Mapping[str, str]) -> str:
    return user.session(EngineConfiguration={"SparkProperties": properties})


def said(user: User, session: str, code: str) -> str:
    found, stdout, stderr = user.run(session, code)
    assert found["Status"]["State"] == "COMPLETED", (found["Status"], stderr)
    return stdout


def test_modules_come_from_a_bucket_to_the_driver_and_to_its_workers(
    user: User, session: str
) -> None:
    one = put(user, "lib/one.py", "def twice(x):\n    return 2 * x\n")
    package = {
        "two/__init__.py": "from two.deep import thrice\n",
        "two/deep.py": "def thrice(x):\n    return 3 * x\n",
    }
    two = put(user, "lib/two.zip", archive(package)).replace("s3:", "s3a:")
    # A wheel of pure Python is such a zip file, too, once it is called one.
    wheel = {"three.py": "THREE = 3\n", "three-1.0.dist-info/METADATA": "Name: three\n"}
    three = put(user, "lib/three-1.0-py3-none-any.zip", archive(wheel))
    code = f"""
from pyspark.sql.functions import udf
for address in ({one!r}, {two!r}, {three!r}):
    sc.addPyFile(address)
import one, two, three
print(one.twice(1), two.thrice(1), three.THREE)

@udf("int")
def worked(x):
    import one, two, three
    return one.twice(x) + two.thrice(x) + three.THREE

print([row[0] for row in spark.range(1, 4).select(worked("id")).collect()])
"""

    assert said(user, session, code) == "2 3 3\n[8, 13, 18]\n"


def test_files_come_from_a_bucket(user: User, session: str) -> None:
    put(user, "files/plain.txt", "one file")
    put(user, "files/more/deep.txt", "a folder")
    put(user, "files/env.zip", archive({"data/x.txt": "an archive"}))
    code = f"""
from pyspark import SparkFiles
from pyspark.sql.functions import udf
sc.addFile("s3://{BUCKET}/files/plain.txt")
sc.addFile("s3://{BUCKET}/files/more", recursive=True)
sc.addArchive("s3://{BUCKET}/files/env.zip#env")

@udf("string")
def there(name):
    return open(SparkFiles.get(name)).read()

names = spark.createDataFrame([("plain.txt",), ("more/deep.txt",), ("env/data/x.txt",)], ["name"])
print([row[0] for row in names.select(there("name")).collect()])
"""

    assert said(user, session, code) == "['one file', 'a folder', 'an archive']\n"


def test_a_jar_comes_from_a_bucket_by_sql(user: User, session: str) -> None:
    put(user, "jars/echo.jar", jar("owl.Echo"))
    code = f"""
spark.sql("ADD JAR s3://{BUCKET}/jars/echo.jar")
spark.udf.registerJavaFunction("echo", "owl.Echo", "string")
print(spark.sql("select echo('hoot') from range(1)").head()[0])
"""

    assert said(user, session, code) == "hoot\n"


def test_properties_bring_everything_along(user: User) -> None:
    put(user, "by/four.py", "FOUR = 4\n")
    session = with_properties(
        user,
        {
            "spark.jars": put(user, "by/hoot.jar", jar("owl.Hoot")),
            "spark.files": put(user, "by/plain.txt", "one file"),
            "spark.archives": put(user, "by/env.zip", archive({"data/x.txt": "unpacked"})) + "#env",
            "spark.submit.pyFiles": f"s3://{BUCKET}/by/four.py, "
            + put(user, "by/five.zip", archive({"five.py": "FIVE = 5\n"})),
        },
    )
    code = """
from pyspark import SparkFiles
from pyspark.sql.functions import udf

@udf("string")
def there(_):
    import five, four
    texts = [open(SparkFiles.get(name)).read() for name in ("plain.txt", "env/data/x.txt")]
    return f"{four.FOUR} {five.FIVE} {texts}"

import five, four
print(four.FOUR, five.FIVE, open(SparkFiles.get("env/data/x.txt")).read())
print(spark.range(1).select(there("id")).head()[0])
spark.udf.registerJavaFunction("echo", "owl.Hoot", "string")
print(spark.sql("select echo('hoot') from range(1)").head()[0])
"""

    stdout = said(user, session, code)

    assert stdout == "4 5 unpacked\n4 5 ['one file', 'unpacked']\nhoot\n"
    user.end(session)


def test_what_is_not_in_its_bucket_fails_the_session_that_asked_for_it(user: User) -> None:
    session = user.start_session(
        EngineConfiguration={"SparkProperties": {"spark.jars": f"s3://{BUCKET}/no/such.jar"}}
    )

    status = user.await_session(session, GONE)

    assert status["State"] == "FAILED"
    assert "such.jar" in status["StateChangeReason"]


def test_packages_are_resolved_from_maven(user: User, tmp_path: Path) -> None:
    fetch("postgresql", cache=tmp_path)  # where that cannot be had, this cannot either
    session = with_properties(user, {"spark.jars.packages": "org.slf4j:slf4j-nop:2.0.16"})
    code = """
loader = sc._jvm.java.lang.Thread.currentThread().getContextClassLoader()
print(loader.getResource("META-INF/maven/org.slf4j/slf4j-nop/pom.xml") is not None)
"""

    assert said(user, session, code) == "True\n"
    user.end(session)


# --- buckets that are made meanwhile -----------------------------------------------------------

#: Written and read, and read by path in a task of its own.
USE: Final = """
from pyspark.sql.functions import udf

spark.range(10).write.parquet("s3://{bucket}/{bucket}-table")
print(spark.read.parquet("s3a://{bucket}/{bucket}-table").count())
sc.addFile("s3://{bucket}/{bucket}-table", recursive=True)

@udf("boolean")
def in_task(_):
    import os
    from pyspark import SparkFiles
    return any(name.endswith(".parquet") for name in os.listdir(SparkFiles.get("{bucket}-table")))

print(spark.range(1).select(in_task("id")).head()[0])
"""


def test_a_bucket_that_is_made_meanwhile_is_there_for_the_next_block(
    user: User, session: str
) -> None:
    said(user, session, "spark.range(1).count()")

    user.s3.create_bucket(Bucket="made-beside")

    assert said(user, session, USE.format(bucket="made-beside")) == "10\nTrue\n"


def test_a_bucket_that_a_block_makes_is_there_for_the_next_block(
    user: User, session: str, server: Server
) -> None:
    """In the same block Spark does not know it yet, and says so as of a bucket that is none."""
    values = server.environment()
    code = f"""
import boto3
s3 = boto3.client(
    "s3",
    endpoint_url={values["AWS_ENDPOINT_URL"]!r},
    aws_access_key_id={values["AWS_ACCESS_KEY_ID"]!r},
    aws_secret_access_key={values["AWS_SECRET_ACCESS_KEY"]!r},
    region_name={values["AWS_DEFAULT_REGION"]!r},
)
s3.create_bucket(Bucket="made-inside")
s3.put_object(Bucket="made-inside", Key="lines.txt", Body=b"one\\ntwo\\n")
try:
    spark.read.text("s3://made-inside/lines.txt").count()
except Exception as error:
    print("NoSuchBucket" in str(error))
"""
    assert said(user, session, code) == "True\n"

    count = 'print(spark.read.text("s3://made-inside/lines.txt").count())\n'

    assert said(user, session, count) == "2\n"
    assert said(user, session, USE.format(bucket="made-inside")) == "10\nTrue\n"
    assert (Path(server.data_dir) / "buckets" / "made-inside" / "lines.txt").is_file()

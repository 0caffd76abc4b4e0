"""Two Sparks behind one API: an environment made with pip, another that borrows it, and our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import GONE, Server, User, running

from sparkowl.domain.engine import SPARK_3, SPARK_3_5, SPARK_4_1

#: The environment is made once for all these tests: pip fetches 300 MB, and Spark is started twice.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

GROUPS = {"three": SPARK_3, "three-five": SPARK_3_5, "four": SPARK_4_1}
FOUR = "4.1."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which two engines are registered: one made, one linked to the made one."""
    folder = tmp_path_factory.mktemp("engines")
    aside = Server(folder / "data", {})
    made = aside.command("engines", "add", SPARK_3, "--pyspark", "3.5.8", timeout=800)
    assert made.returncode == 0, made.stderr
    python = made_python(aside.data_dir)
    linked = aside.command("engines", "add", SPARK_3_5, "--python", python)
    assert linked.returncode == 0, linked.stderr
    with running(folder) as started:
        athena = started.client("athena")
        for name, engine in GROUPS.items():
            configuration = {
                "EngineVersion": {"SelectedEngineVersion": engine},
                "ExecutionRole": "arn:aws:iam::000000000000:role/engines",
            }
            athena.create_work_group(Name=name, Configuration=configuration)
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    return User(server.client("athena"), server.client("s3"))


@pytest.fixture(scope="module")
def three(user: User) -> str:
    """A session of Spark 3.5, for all tests that leave it as it was."""
    return user.session(WorkGroup="three")


def made_python(data_dir: Path) -> str:
    file = data_dir / "engines" / "pyspark-engine-version-3" / "engine.json"
    return str(json.loads(file.read_text())["python"])


def test_one_session_runs_spark_3_while_another_runs_spark_4(user: User, three: str) -> None:
    four = user.session(WorkGroup="four")

    versions = [user.run(session, "print(spark.version)")[1] for session in (three, four)]

    assert versions[0] == "3.5.8\n"
    assert versions[1].startswith(FOUR)
    assert user.timeline(three)["spark_version"] == "3.5.8"
    assert user.timeline(four)["spark_version"] + "\n" == versions[1]
    assert user.timeline(three)["warm"] is False
    assert user.timeline(three)["why"] == "its engine has an environment of its own"
    user.end(four)


def test_a_session_of_spark_3_does_what_sessions_do(user: User, three: str) -> None:
    code = (
        "import pandas as pd\n"
        "from pyspark.sql.functions import pandas_udf\n"
        "@pandas_udf('long')\n"
        "def more(column: pd.Series) -> pd.Series: return column + 1\n"
        "spark.range(3).select(more('id').alias('n')).write.parquet('s3://sparkowl-results/n')\n"
        "print(sorted(spark.read.parquet('s3a://sparkowl-results/n').toPandas()['n']))"
    )

    computed = user.run(three, code)
    shown = user.run(three, "%%sql\nselect 1 as one")
    failed = user.run(three, "\nspark.sql('select nope from range(1)')")

    assert computed[1] == "[1, 2, 3]\n", computed[2]
    assert "|  1|" in shown[1]
    assert failed[0]["Status"]["StateChangeReason"].startswith("AnalysisException: ")
    assert "SQLQueryContextLogger" not in failed[2]


def test_a_session_of_spark_3_sees_neither_the_servers_files_nor_its_packages(
    user: User, three: str
) -> None:
    code = (
        "import importlib.util as look, os, sparkowl.agent\n"
        "print([name for name in ('boto3', 'sqlalchemy', 'uvicorn') if look.find_spec(name)])\n"
        "root = os.path.realpath('..').partition('/drivers/')[0]\n"
        "for name in ('', '/sparkowl.db', '/credentials.json', '/engines'):\n"
        "    print(os.access(root + name, os.R_OK) and name)\n"
        "    try: os.listdir(root + name) if name in ('', '/engines') else open(root + name)\n"
        "    except OSError as error: print(type(error).__name__)"
    )

    stdout = user.run(three, code)[1].splitlines()

    assert stdout[0] == "[]"
    if user.timeline(three)["isolation"].startswith("landlock"):
        assert stdout[2::2] == ["PermissionError"] * 4


def test_an_engine_that_is_linked_runs_the_spark_it_is_linked_to(user: User) -> None:
    session = user.session(WorkGroup="three-five")

    assert user.timeline(session)["spark_version"] == "3.5.8"
    user.end(session)


def test_properties_are_those_of_the_spark_that_runs(user: User) -> None:
    """``spark.sql.scripting.enabled`` came with Spark 4."""
    asked = {"EngineConfiguration": {"SparkProperties": {"spark.sql.scripting.enabled": "true"}}}

    four = user.session(WorkGroup="four", **asked)
    three = user.start_session(WorkGroup="three", **asked)

    assert user.run(four, "print(spark.conf.get('spark.sql.scripting.enabled'))")[1] == "true\n"
    status = user.await_session(three, GONE)
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"] == (
        "Session failed to start [USER] Spark properties that cannot be set in a session: "
        "spark.sql.scripting.enabled (Spark 3.5.8 has no such property) "
        f"Diagnose it with: sparkowl sessions diagnose {three}"
    )
    user.end(four)


@pytest.mark.parametrize("group", ["three", "spark"])
def test_jars_come_from_a_bucket(user: User, group: str) -> None:
    user.s3.create_bucket(Bucket=f"jars-of-{group}")
    location = f"s3://jars-of-{group}/lib/nothing.jar"
    # The smallest archive there is: the end of one without entries.
    user.s3.put_object(Bucket=f"jars-of-{group}", Key="lib/nothing.jar", Body=b"PK\5\6" + bytes(18))
    session = user.session(
        WorkGroup=group, EngineConfiguration={"SparkProperties": {"spark.jars": location}}
    )

    stdout = user.run(session, "print(sc._jsc.sc().listJars().mkString())")[1]

    assert stdout == f"{location}\n"
    user.end(session)


def test_a_server_on_the_same_data_says_what_is_registered(server: Server) -> None:
    listed = server.command("engines", "list").stdout.splitlines()

    assert [line.split()[4:5] for line in listed[1:] if "3.5.8" in line] == [["3.5.8"], ["3.5.8"]]
    assert listed[1].endswith(made_python(server.data_dir))

"""One catalogue for every session of the account, with real Spark and Hive's own metastore.

One server, and a session in each of two workgroups. Each test uses names of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.conftest import Server, User, processes_of, running

NAMES_NO_TABLE = (
    "spark.range(10).createOrReplaceTempView('ten')\n"
    "print(spark.sql('select sum(id) as total from ten').collect()[0].total)"
)
pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]


@dataclass
class Account:
    server: Server
    user: User
    #: By workgroup.
    sessions: dict[str, str] = field(default_factory=dict)
    #: What a block printed that names no table, and the catalogue's processes after it.
    quiet: tuple[str, dict[int, str]] = ("", {})

    @property
    def first(self) -> str:
        """A session of a workgroup that has no location of its own."""
        return self._session("spark")

    @property
    def second(self) -> str:
        """A session of a workgroup whose outputs go to ``s3://reports/out/``."""
        return self._session("reports")

    def _session(self, work_group: str) -> str:
        if work_group not in self.sessions:
            self.sessions[work_group] = self.user.session(WorkGroup=work_group)
        return self.sessions[work_group]

    def run(self, session: str, code: str) -> str:
        """What a block prints."""
        found, out, err = self.user.run(session, code)
        assert found["Status"]["State"] == "COMPLETED", (err, self.log())
        return out

    def sql(self, session: str, *statements: str) -> str:
        """The rows of the last statement."""
        lines = "\n".join(f"rows = spark.sql({text!r}).collect()" for text in statements)
        return self.run(session, f"{lines}\nprint([tuple(row) for row in rows])").strip()

    def keys(self, bucket: str, prefix: str) -> list[str]:
        found = self.user.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def process(self, word: str) -> int:
        """Of the catalogue: the keeper, or the JVM."""
        [pid] = [pid for pid, line in self.processes().items() if word in line]
        return pid

    def processes(self) -> dict[int, str]:
        return processes_of(self.server.data_dir / "catalog")

    def log(self) -> str:
        folder = self.server.data_dir / "catalog"
        logs = [folder / name for name in ("keeper.log", "jvm.log")]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())

    def restart(self, **settings: str) -> None:
        self.server.stop()
        self.server.settings |= settings
        self.server.start()
        self.user = User(self.server.client("athena"), self.server.client("s3"))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with running(folder, POOL__SIZE="0", KEEP_SESSIONS="true") as server:
        user = User(server.client("athena"), server.client("s3"))
        user.s3.create_bucket(Bucket="reports")
        user.athena.create_work_group(
            Name="reports",
            Configuration={
                "EngineVersion": {"SelectedEngineVersion": "PySpark engine version 3"},
                "ResultConfiguration": {"OutputLocation": "s3://reports/out/"},
                "ExecutionRole": "arn:aws:iam::000000000000:role/reports",
            },
        )
        made = Account(server, user)
        made.quiet = made.run(made.first, NAMES_NO_TABLE), made.processes()
        try:
            yield made
        finally:
            server.settings["KEEP_SESSIONS"] = "false"
            server.stop()
            server.start()


def test_nothing_runs_for_a_session_that_names_no_table(account: Account) -> None:
    assert account.quiet == ("45\n", {})


def test_what_one_session_saves_every_other_one_sees(account: Account) -> None:
    account.run(account.first, "spark.range(3).write.saveAsTable('numbers')")
    account.sql(account.first, "create database shop", "create table shop.orders as select 7 as n")

    assert account.sql(account.second, "select count(*) from numbers") == "[(3,)]"
    assert account.sql(account.second, "select * from shop.orders") == "[(7,)]"
    assert account.keys("sparkowl-results", "warehouse/numbers/part-")
    assert account.keys("sparkowl-results", "warehouse/shop.db/orders/part-")
    assert not [key for key in account.keys("sparkowl-results", "warehouse/") if ".crc" in key]


def test_a_database_lands_where_the_outputs_of_its_workgroup_do(account: Account) -> None:
    account.sql(account.second, "create database monthly", "create table monthly.t as select 1")
    # A session that user code makes beside the one that it was given.
    account.run(account.second, "spark.newSession().sql('create database weekly')")

    assert account.keys("reports", "out/warehouse/monthly.db/t/part-")
    weekly = account.sql(account.first, "describe database weekly")
    assert "s3://reports/out/warehouse/weekly.db" in weekly


def test_a_dropped_table_takes_its_files_along(account: Account) -> None:
    account.run(account.first, "spark.range(3).write.saveAsTable('passing')")
    assert account.keys("sparkowl-results", "warehouse/passing/")

    account.sql(account.second, "drop table passing")

    assert account.keys("sparkowl-results", "warehouse/passing/") == []


def test_partitions_are_found_and_dropped_by_what_they_hold(account: Account) -> None:
    """The metastore answers without the calls that take Java's objects."""
    account.sql(
        account.first,
        "create table parted(n int, day string) using parquet partitioned by (day)",
        "insert into parted values (1, 'mon'), (2, 'tue'), (3, 'wed')",
        "alter table parted drop partition (day = 'mon'), partition (day = 'wed')",
    )

    query = "select n, day from parted where day in ('tue', 'wed')"
    assert account.sql(account.second, query) == "[(2, 'tue')]"
    assert "day=mon" not in account.sql(account.second, "show partitions parted")


def test_a_bucket_may_be_younger_than_the_metastore(account: Account) -> None:
    account.sql(account.first, "show tables")
    account.user.s3.create_bucket(Bucket="younger")

    account.sql(
        account.first,
        "create database young location 's3://younger/db'",
        "create table young.t as select 5 as n",
    )

    assert account.keys("younger", "db/t/part-")
    assert account.sql(account.second, "select n from young.t") == "[(5,)]"


def test_tables_outlive_the_metastore_and_its_keeper(account: Account) -> None:
    account.run(account.first, "spark.range(6).write.saveAsTable('lasting')")

    os.kill(account.process("PythonGatewayServer"), signal.SIGKILL)
    assert account.sql(account.second, "select count(*) from lasting") == "[(6,)]"

    os.kill(account.process("sparkowl.metastore"), signal.SIGKILL)
    assert account.sql(account.first, "select count(*) from lasting") == "[(6,)]"


def test_a_restarted_server_has_the_same_tables(account: Account) -> None:
    account.run(account.first, "spark.range(8).write.saveAsTable('kept')")
    keeper = account.process("sparkowl.metastore")

    # The sessions stay, and so does what they are connected to.
    account.restart()
    assert account.process("sparkowl.metastore") == keeper
    assert account.sql(account.first, "select count(*) from kept") == "[(8,)]"

    # Nothing stays.
    account.restart(KEEP_SESSIONS="false")
    account.restart(KEEP_SESSIONS="true")
    account.sessions.clear()
    assert account.processes() == {}
    assert account.sql(account.second, "select count(*) from kept") == "[(8,)]"


def test_the_metastore_cannot_look_into_the_data_directory(account: Account) -> None:
    """It is as confined as what it serves: users name the paths that it makes and deletes."""
    account.sql(account.first, "show databases")
    jvm = account.process("PythonGatewayServer")
    status = Path(f"/proc/{jvm}/status").read_text()

    assert "NoNewPrivs:\t1" in status
    code = (
        "try:\n"
        f"    spark.sql(\"create database out location 'file://{account.server.data_dir}/out'\")\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)"
    )
    assert account.run(account.first, code).strip() == "AnalysisException"
    assert not (account.server.data_dir / "out").exists()

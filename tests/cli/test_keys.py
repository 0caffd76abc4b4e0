"""``sparkowl keys``, beside a running server and without one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from sqlalchemy import Connection
from tests.cli.commands import SPARKOWL, Done, command
from tests.keys import allow, text_of
from tests.proc import opened_by
from tests.serving import Server, serving, until

from sparkowl import credentials
from sparkowl.config import DATABASE_FILE
from sparkowl.domain.workgroup import built_in
from sparkowl.store import Store, workgroups

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def keys(data_dir: Path, *arguments: str, given: str = "", **environment: str) -> Done:
    return command(
        "keys", *arguments, "--data-dir", str(data_dir), given=given, environment=environment
    )


def made(done: Done) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def client(server: Server, key: dict[str, str], service: str = "athena") -> Any:
    return server.client(service, key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])


def code_of(athena: Any) -> str:
    try:
        athena.list_work_groups()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server leaves behind."""
    folder = tmp_path_factory.mktemp("left")
    credentials.load_or_create(folder)

    def write(tx: Connection) -> None:
        for work_group in built_in(NEW_YEAR):
            workgroups.insert_work_group(tx, work_group)

    async def fill() -> None:
        store = Store.open(folder / DATABASE_FILE)
        await store.write(write)
        store.close()

    asyncio.run(fill())
    return folder


@pytest.fixture
def resting(left: Path, tmp_path: Path) -> Path:
    """A data directory whose server does not run."""
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("keys")) as server:
        yield server


# --- beside a running server -------------------------------------------------------------------


def test_a_workgroups_user_can_work_in_it_and_do_nothing_else(server: Server) -> None:
    done = keys(server.data_dir, "create", "alice", "--workgroup", "spark", "--json")
    alice = made(done)
    athena, s3 = client(server, alice), client(server, alice, "s3")

    assert alice["Principal"] == "alice"
    assert "with those of other workgroups" in done.stderr
    session = athena.start_session(
        WorkGroup="spark", EngineConfiguration={}, Tags=[{"Key": "a", "Value": "b"}]
    )["SessionId"]
    until(lambda: athena.get_session_status(SessionId=session)["Status"]["State"] == "IDLE")
    calculation = athena.start_calculation_execution(SessionId=session, CodeBlock="hello")
    found = until(lambda: _completed(athena, calculation["CalculationExecutionId"]))
    bucket, _, key = found["Result"]["StdOutS3Uri"].removeprefix("s3://").partition("/")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"hello"
    assert s3.list_objects_v2(Bucket=bucket, Prefix=session)["KeyCount"] > 0
    athena.list_calculation_executions(SessionId=session)
    athena.list_executors(SessionId=session)
    notebook = athena.create_notebook(WorkGroup="spark", Name="n")["NotebookId"]
    athena.export_notebook(NotebookId=notebook)
    assert athena.list_notebook_metadata(WorkGroup="spark")["NotebookMetadataList"]
    athena.delete_notebook(NotebookId=notebook)
    assert [one["Name"] for one in athena.list_work_groups()["WorkGroups"]] == ["spark"]
    athena.terminate_session(SessionId=session)

    for refused in (
        lambda: athena.get_work_group(WorkGroup="primary"),
        lambda: athena.list_sessions(WorkGroup="primary"),
        lambda: athena.list_notebook_metadata(WorkGroup="primary"),
        s3.list_buckets,
        lambda: s3.create_bucket(Bucket="mine"),
        lambda: s3.delete_bucket(Bucket=bucket),
    ):
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            refused()


def _completed(athena: Any, calculation_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = athena.get_calculation_execution(CalculationExecutionId=calculation_id)
    return found if found["Status"]["State"] == "COMPLETED" else None


def test_an_output_location_with_wildcards_gives_no_ready_made_policy(server: Server) -> None:
    """Whoever may change the workgroup would choose what its next user may read."""
    server.client().create_work_group(
        Name="wild",
        Configuration={
            "EngineVersion": {"SelectedEngineVersion": "PySpark engine version 3"},
            "ExecutionRole": "arn:aws:iam::000000000000:role/etl",
            "ResultConfiguration": {"OutputLocation": "s3://lake/*"},
        },
    )

    done = keys(server.data_dir, "create", "wilma", "--workgroup", "wild")

    assert done.returncode == 1
    assert "has wildcards of policies" in done.stderr.replace("\n", " ")


def test_export_lines_can_be_evaluated_by_a_shell(server: Server) -> None:
    done = keys(server.data_dir, "create", "shell", "--workgroup", "spark", "--export")

    first, *words = [shlex.split(line) for line in done.stdout.splitlines()]
    exported = dict(word[1].split("=", 1) for word in words)
    assert first[0] == "unset"
    assert exported["AWS_ENDPOINT_URL"] == server.url
    athena = boto3.client(
        "athena",
        endpoint_url=exported["AWS_ENDPOINT_URL"],
        aws_access_key_id=exported["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exported["AWS_SECRET_ACCESS_KEY"],
        region_name=exported["AWS_DEFAULT_REGION"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    assert code_of(athena) == "ok"


def test_a_key_that_is_disabled_stops_and_enabled_goes_on(server: Server) -> None:
    bob = made(keys(server.data_dir, "create", "bob", "--workgroup", "spark", "--json"))
    athena = client(server, bob)
    assert code_of(athena) == "ok"

    done = keys(server.data_dir, "disable", bob["AccessKeyId"])
    assert done.stdout == f"{bob['AccessKeyId']} DISABLED\n"
    until(lambda: code_of(athena) == "UnrecognizedClientException")

    keys(server.data_dir, "enable", bob["AccessKeyId"])
    until(lambda: code_of(athena) == "ok")


def test_a_rotated_key_gives_way_to_the_new_one(server: Server) -> None:
    old = made(keys(server.data_dir, "create", "carol", "--workgroup", "spark", "--json"))
    new = made(keys(server.data_dir, "rotate", old["AccessKeyId"], "--keep-old", "1", "--json"))
    assert code_of(client(server, old)) == code_of(client(server, new)) == "ok"

    last = made(keys(server.data_dir, "rotate", new["AccessKeyId"], "--json"))
    assert code_of(client(server, last)) == "ok"
    until(lambda: code_of(client(server, new)) == "UnrecognizedClientException")


def test_the_first_key_can_be_rotated_and_env_knows_the_new_one(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        old = server.running.credentials
        assert code_of(server.client()) == "ok"
        new = made(keys(tmp_path, "rotate", old.access_key_id, "--json"))
        assert new["Principal"] == "root"
        until(lambda: code_of(server.client()) == "UnrecognizedClientException")
        assert code_of(client(server, new)) == "ok"

        printed = command("env", "--data-dir", str(tmp_path)).stdout
        assert f"AWS_ACCESS_KEY_ID={new['AccessKeyId']}" in printed
        assert f"AWS_SECRET_ACCESS_KEY={new['SecretAccessKey']}" in printed


def test_of_two_that_rotate_the_first_key_at_once_the_second_finds_it_gone(resting: Path) -> None:
    first = credentials.load_or_create(resting)
    lock = resting / "keys.lock"
    rotate = [SPARKOWL, "keys", "rotate", first.access_key_id, "--data-dir", str(resting)]
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen(rotate, stderr=subprocess.PIPE, text=True) as second:
            until(lambda: second.poll() is not None or lock in opened_by(second.pid))
            replaced = replace(first, access_key_id="AKIATHEOTHERONE")
            credentials.replace_file(resting, replaced)
            fcntl.flock(held, fcntl.LOCK_UN)
            _, said = second.communicate(timeout=60)

    assert "There is no key" in said
    assert credentials.load_or_create(resting) == replaced


def test_a_database_of_another_version_is_left_alone(resting: Path) -> None:
    with closing(sqlite3.connect(resting / DATABASE_FILE)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
        database.commit()
    before = (resting / DATABASE_FILE).read_bytes()

    done = keys(resting, "list")
    made = keys(resting, "create", "alice", "--policy", "-", given=text_of(allow("athena:*")))

    for refused in (done, made):
        assert refused.returncode == 1
        assert "is of another version of SparkOwl" in refused.stderr
    assert (resting / DATABASE_FILE).read_bytes() == before


def test_a_policy_can_be_shown_and_replaced(server: Server) -> None:
    done = keys(
        server.data_dir,
        "create",
        "dave",
        "--policy",
        "-",
        "--json",
        given=text_of(allow("athena:Get*")),
    )
    athena = client(server, made(done))
    assert code_of(athena) == "AccessDeniedException"

    new = text_of(allow("athena:List*"))
    done = keys(server.data_dir, "policy", "dave", "--set", "-", given=new)
    assert json.loads(done.stdout) == json.loads(new)
    assert json.loads(keys(server.data_dir, "policy", "dave").stdout) == json.loads(new)
    until(lambda: code_of(athena) == "ok")


# --- without one -------------------------------------------------------------------------------


def test_list_shows_all_keys_and_no_secret(resting: Path) -> None:
    alice = made(keys(resting, "create", "alice", "--workgroup", "spark", "--json"))
    keys(resting, "disable", alice["AccessKeyId"])
    first = credentials.load(resting)
    assert first is not None

    table = keys(resting, "list").stdout
    rows = [line.split() for line in table.splitlines()]
    found = json.loads(keys(resting, "list", "--json").stdout)

    assert rows[0] == ["KEY", "PRINCIPAL", "STATE", "CREATED", "EXPIRES"]
    assert rows[1][:3] == [first.access_key_id, "root", "ACTIVE"]
    assert rows[2][:3] == [alice["AccessKeyId"], "alice", "DISABLED"]
    assert [one["State"] for one in found] == ["ACTIVE", "DISABLED"]
    for secret in (alice["SecretAccessKey"], first.secret_access_key):
        assert secret not in table + json.dumps(found)


def test_a_second_key_needs_no_policy(resting: Path) -> None:
    one = made(keys(resting, "create", "alice", "--workgroup", "spark", "--json"))
    two = made(keys(resting, "create", "alice", "--json"))

    assert one["AccessKeyId"] != two["AccessKeyId"]


def test_the_plain_form_shows_the_secret_once(resting: Path) -> None:
    done = keys(resting, "create", "alice", "--workgroup", "spark")

    lines = [line.rsplit("  ", 1) for line in done.stdout.splitlines()]
    assert [line[0].strip() for line in lines] == [
        "Principal",
        "Access key id",
        "Secret access key",
    ]
    assert len(lines[2][1]) == 40
    assert lines[2][1] not in done.stderr


def test_a_policy_of_what_nobody_asks_for_is_noted(resting: Path) -> None:
    policy = text_of(allow(["athena:StartSesion", "glue:*", "athena:Get*", "iam:*", "s3:Put*"]))

    done = keys(resting, "create", "alice", "--policy", "-", given=policy)

    assert done.returncode == 0
    notes = [line for line in done.stderr.splitlines() if line.startswith("Note:")]
    assert [line.split()[6] for line in notes] == ["athena:StartSesion", "glue:*"]


@pytest.mark.parametrize(
    ("arguments", "given", "message", "status"),
    [
        (["create", "alice"], "", "There is no principal alice yet: say what it may do.", 1),
        (["create", "a b", "--workgroup", "spark"], "", "A principal's name has 1 to 64", 1),
        (["create", "root", "--workgroup", "spark"], "", "root is the principal of the first", 1),
        (["create", "alice", "--workgroup", "none"], "", "There is no workgroup none on", 1),
        (["create", "alice", "--policy", "/no/file"], "", "/no/file: No such file", 2),
        (
            ["create", "alice", "--policy", "-", "--workgroup", "spark"],
            "",
            "Give a policy or a workgroup, not both.",
            2,
        ),
        (
            ["create", "alice", "--policy", "-"],
            text_of(allow("athena:*", "spark")),
            "The policy on standard input: Statement[0].Resource: spark must be * or an ARN",
            1,
        ),
        (["create", "alice", "--policy", "-"], "{", "The policy is not JSON", 1),
        (["disable", "AKIANONE"], "", "There is no key AKIANONE. See: sparkowl keys list", 1),
        (["enable", "AKIANONE"], "", "There is no key AKIANONE.", 1),
        (["rotate", "AKIANONE"], "", "There is no key AKIANONE.", 1),
        (["policy", "nobody"], "", "There is no principal nobody.", 1),
        (["policy", "root"], "", "may do everything", 1),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    resting: Path, arguments: list[str], given: str, message: str, status: int
) -> None:
    done = keys(resting, *arguments, given=given)

    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_first_key_cannot_be_disabled(resting: Path) -> None:
    first = credentials.load(resting)
    assert first is not None

    done = keys(resting, "disable", first.access_key_id)

    assert done.returncode == 1
    assert f"sparkowl keys rotate {first.access_key_id}" in done.stderr


@pytest.mark.parametrize("hours", ["-1", "169"])
def test_an_old_key_is_kept_for_a_week_at_most(resting: Path, hours: str) -> None:
    first = credentials.load(resting)
    assert first is not None

    done = keys(resting, "rotate", first.access_key_id, "--keep-old", hours)

    assert (done.returncode, done.stdout) == (1, "")
    assert "0 to 168 hours" in done.stderr
    assert credentials.load(resting) == first


def test_where_no_server_ever_started_nothing_is_made(tmp_path: Path) -> None:
    done = keys(tmp_path / "none", "create", "alice", "--workgroup", "spark")

    assert done.returncode == 1
    assert "Start one with: sparkowl serve" in done.stderr
    assert not (tmp_path / "none").exists()


def test_damaged_keys_are_said_to_be_damaged(resting: Path) -> None:
    (resting / "credentials.json").write_text("{")

    done = keys(resting, "create", "alice", "--workgroup", "spark")

    assert done.returncode == 1
    assert "is damaged. Restore it" in done.stderr


def test_files_that_the_command_makes_are_its_owners_only(resting: Path) -> None:
    there = set(resting.iterdir())
    before = os.umask(0)
    try:
        keys(resting, "create", "alice", "--policy", "-", given=text_of(allow("athena:*")))
    finally:
        os.umask(before)

    made = set(resting.iterdir()) - there
    assert {file.name: file.stat().st_mode & 0o077 for file in made} == {"keys.lock": 0}

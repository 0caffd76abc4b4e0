"""What a server needs to start, and what it says when it cannot have it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, serving

from sparkowl import app
from sparkowl.app import StartError, isolation
from sparkowl.config import ADDRESS_FILE, RoleSection, Settings
from sparkowl.launchers.base import Isolation


def fails_to_start(data_dir: Path, **settings: Any) -> str:
    """What the start error says."""
    made: dict[str, Any] = {
        "data_dir": data_dir,
        "cache_dir": data_dir / "cache",
        "port": 0,
        "launcher": "fake",
    }
    chosen = Settings(**(made | settings))

    async def start() -> None:
        stop = asyncio.Event()
        await app.serve(chosen, stop, lambda running: stop.set())

    with pytest.raises(StartError) as error:
        asyncio.run(start())
    return str(error.value)


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        said = fails_to_start(tmp_path, port=port)

    assert said == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Give another --port (0 takes a free one)."
    )


def test_an_audit_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    place, pipe = tmp_path / "not" / "there", tmp_path / "pipe"
    os.mkfifo(pipe)

    said = fails_to_start(tmp_path / "data", audit={"file": place})

    assert said == (
        f"The audit log {place} cannot be opened: No such file or directory. "
        "Give another audit.file, or set audit.enabled = false."
    )
    assert str(pipe) in fails_to_start(tmp_path / "data", audit={"file": pipe})
    with serving(tmp_path / "data", audit={"file": place, "enabled": False}) as server:
        assert server.client().list_work_groups()["WorkGroups"]


def test_two_servers_cannot_have_one_port(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as one:
        said = fails_to_start(tmp_path / "two", port=port_of(one))

    assert "Address already in use" in said


def test_a_port_is_free_again_as_soon_as_its_server_has_stopped(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        first.client().list_work_groups()
        port = port_of(first)

    with serving(tmp_path, port=port) as second:
        assert second.client().list_work_groups()["WorkGroups"]


def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        said = fails_to_start(tmp_path)

        assert said == (
            f"Another SparkOwl runs on {tmp_path}. Stop it, or give --data-dir. "
            "Two servers need the store on PostgreSQL ([store] url)."
        )
        assert first.client().list_work_groups()["WorkGroups"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_a_host_beyond_loopback_is_refused_without_a_proxy(tmp_path: Path, host: str) -> None:
    said = fails_to_start(tmp_path, host=host)

    assert said.startswith(f"Refusing to listen on {host} without TLS.")
    assert not (tmp_path / "sparkowl.db").exists()


def test_behind_a_proxy_any_host_is_fine(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0", behind_proxy=True) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.client().list_work_groups()["WorkGroups"]


def test_localhost_is_loopback(tmp_path: Path) -> None:
    with serving(tmp_path, host="localhost") as server:
        assert server.client().list_work_groups()["WorkGroups"]


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    said = fails_to_start(tmp_path / "file" / "data")

    assert said.startswith(f"The data directory {tmp_path / 'file' / 'data'} cannot be used: ")


def test_a_database_of_a_newer_server_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "sparkowl.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    assert "revision 9999, which this SparkOwl does not know" in fails_to_start(tmp_path)


def test_a_database_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.db").write_bytes(b"not a database, but long enough to look at" * 100)

    said = fails_to_start(tmp_path)

    assert said == f"The database {tmp_path}/sparkowl.db cannot be used: file is not a database."


@pytest.mark.parametrize("text", ["", "{", "[]", '{"access_key_id": "x"}'])
def test_damaged_keys_are_named_and_not_replaced(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(text)

    said = fails_to_start(tmp_path)

    assert said.startswith(f"{file} is damaged.")
    assert file.read_text() == text


def test_an_output_location_whose_bucket_cannot_be_is_named(tmp_path: Path) -> None:
    said = fails_to_start(tmp_path, output_location="s3://a..b/x")

    assert said.startswith("output_location s3://a..b/x: ")


def test_a_rate_of_an_operation_that_is_none_is_named(tmp_path: Path) -> None:
    rates = {"operations": {"StartSesion": {"per_s": 1, "burst": 1}}}

    said = fails_to_start(tmp_path, rates=rates)

    assert said == "Setting rates.operations: StartSesion is not an operation."


def test_an_engine_whose_environment_is_damaged_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "apache-spark-version-3.5"
    folder.mkdir(parents=True)
    (folder / "engine.json").write_text("{")

    said = fails_to_start(tmp_path, launcher="local")

    assert said.startswith(f"{folder / 'engine.json'} is damaged: ")
    assert said.endswith("Register the engine again.")


def test_a_python_of_the_settings_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = {"Apache Spark version 3.5": {"python": tmp_path / "no" / "python"}}

    said = fails_to_start(tmp_path, launcher="local", engines=nowhere)

    assert said.startswith(f"{tmp_path / 'no' / 'python'} cannot be run: ")


def test_the_address_is_announced_while_the_server_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        announced = json.loads((tmp_path / ADDRESS_FILE).read_text())

    assert announced["url"] == server.url
    assert not (tmp_path / ADDRESS_FILE).exists()


def test_a_start_that_fails_leaves_the_data_directory_free(tmp_path: Path) -> None:
    fails_to_start(tmp_path, output_location="s3://a..b")

    with serving(tmp_path) as server:
        assert server.client().list_work_groups()["WorkGroups"]


def test_sessions_keys_and_objects_outlive_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        session = first.client().start_session(WorkGroup="spark", EngineConfiguration={})
        keys = first.running.credentials

    with serving(tmp_path) as second:
        status = second.client().get_session_status(SessionId=session["SessionId"])["Status"]

    assert second.running.credentials == keys
    assert status["State"] == "TERMINATED"
    assert status["StateChangeReason"] == (
        "Session was terminated per request [SERVER] The server stopped."
    )


def test_what_the_server_keeps_is_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    with serving(data_dir):
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (data_dir, data_dir / "credentials.json")
        }

    assert modes == {"data": 0o700, "credentials.json": 0o600}


def test_who_may_come_in_depends_on_what_user_code_is_kept_from(tmp_path: Path) -> None:
    nothing = Isolation(in_force="no Landlock: too old", missing="too old", guards_paths=False)
    landlock = Isolation(in_force="landlock v7", missing=None, guards_paths=True)
    plain, brave = Settings(data_dir=tmp_path), Settings(data_dir=tmp_path, allow_unisolated=True)

    assert isolation.others_allowed(plain, landlock)
    assert not isolation.others_allowed(plain, nothing)
    assert isolation.others_allowed(brave, nothing)


def test_buckets_of_a_role_that_cannot_be_enforced_stop_the_start(tmp_path: Path) -> None:
    arn = "arn:aws:iam::000000000000:role/etl"
    settings = Settings(data_dir=tmp_path, roles={arn: RoleSection(buckets=("lake",))})
    users_only = Isolation(
        in_force="drivers run as etl; no Landlock: too old", missing=None, guards_paths=False
    )

    with pytest.raises(StartError, match=r"buckets of role .*role/etl cannot be enforced"):
        isolation.others_allowed(settings, users_only)


@pytest.mark.parametrize(("kind", "warned"), [("hive", True), ("none", False)])
def test_who_gives_roles_buckets_is_told_what_the_metastore_does_for_everybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, warned: bool
) -> None:
    arn = "arn:aws:iam::000000000000:role/etl"
    settings = Settings(
        data_dir=tmp_path, roles={arn: RoleSection(buckets=("lake",))}, catalog={"kind": kind}
    )
    landlock = Isolation(in_force="landlock v7", missing=None, guards_paths=True)

    assert isolation.others_allowed(settings, landlock)

    told = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert [f"the buckets of role {arn}" in one for one in told] == [True] * warned


def test_a_place_that_a_user_cannot_reach_stops_the_start(tmp_path: Path) -> None:
    shut = Isolation(
        in_force="landlock v7; drivers run as etl",
        missing=None,
        guards_paths=True,
        problems=("User etl cannot enter /root, on the way to /root/data.",),
    )

    with pytest.raises(StartError, match="User etl cannot enter /root"):
        isolation.others_allowed(Settings(data_dir=tmp_path), shut)


def test_a_user_that_does_not_exist_stops_the_start(tmp_path: Path) -> None:
    said = fails_to_start(
        tmp_path, launcher="local", driver={"user": "no-such-user", "group": "60017"}
    )

    assert said in {
        "There is no user no-such-user on this machine.",
        "Drivers cannot run as user no-such-user: the server does not run as root.",
    }


def test_more_connections_than_files_may_be_open_are_refused(tmp_path: Path) -> None:
    said = fails_to_start(tmp_path, http={"connections": 10**9})

    assert said.startswith("http.connections is 1000000000, but the limit of ")
    assert "LimitNOFILE" in said

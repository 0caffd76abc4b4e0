"""A server on PostgreSQL: how it starts, what it refuses, and what it never shows."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.cli.commands import command
from tests.databases import PostgreSQL, empty_place, new_server
from tests.keys import Statement
from tests.serving import serving, until

from sparkowl.app.errors import StartError

PASSWORD = "hidden-word"
START = {"WorkGroup": "spark", "EngineConfiguration": {}}
ALLOWED: Statement = {"Effect": "Allow", "Action": ["athena:*"], "Resource": ["*"]}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database without tables."""
    return str(empty_place("postgresql", tmp_path))


def test_a_server_starts_on_an_empty_database_and_again(tmp_path: Path, url: str) -> None:
    with serving(tmp_path, store={"url": url}, keep_sessions=True) as server:
        session_id = server.client().start_session(**START)["SessionId"]

    assert not (tmp_path / "sparkowl.db").exists()
    with serving(tmp_path, store={"url": url}) as server:
        assert server.client().get_session(SessionId=session_id)["SessionId"] == session_id


def test_a_server_without_postgresql_is_refused_where_one_with_it_runs(
    tmp_path: Path, url: str
) -> None:
    refused = pytest.raises(StartError, match="Two servers need the store on PostgreSQL")
    with serving(tmp_path, store={"url": url}), refused, serving(tmp_path):
        pass


def test_the_commands_of_the_operator_work_on_it(tmp_path: Path, url: str) -> None:
    environment = {"SPARKOWL_STORE__URL": url}
    place = ["--data-dir", str(tmp_path)]
    with serving(tmp_path, store={"url": url}) as server:
        key = server.principal("ann", ALLOWED)
        athena = server.client_of(key)
        session_id = athena.start_session(**START)["SessionId"]
        until(lambda: state(athena, session_id) == "IDLE")
        used = command("usage", "--by", "principal", "--json", *place, environment=environment)
        listed = command("keys", "list", *place, environment=environment)

    assert [line["principal"] for line in json.loads(used.stdout)] == ["ann"], used.stderr
    assert key.id in listed.stdout, listed.stderr


@pytest.fixture
def alone() -> Iterator[PostgreSQL]:
    made = new_server()
    yield made
    made.end()


def test_while_the_database_is_away_calls_may_be_made_again_and_later_they_work(
    tmp_path: Path, alone: PostgreSQL
) -> None:
    with serving(tmp_path, store={"url": alone.new_database()}) as server:
        athena = server.client()
        token = {"ClientRequestToken": "t" * 32}
        first = athena.start_session(**START, **token)["SessionId"]
        until(lambda: state(athena, first) == "IDLE")

        alone.stop()
        with pytest.raises(ClientError, match="InternalServerException"):
            athena.start_session(**START, **token)
        with pytest.raises(ClientError, match="InternalServerException"):
            athena.get_session_status(SessionId=first)
        alone.start()

        assert athena.start_session(**START, **token)["SessionId"] == first
        second = athena.start_session(**START)["SessionId"]
        until(lambda: state(athena, second) == "IDLE")


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


def test_a_database_that_is_away_at_the_start_is_named_and_its_password_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/rows"
    caplog.set_level(logging.DEBUG)

    with pytest.raises(StartError) as refused, serving(tmp_path, store={"url": url}):
        pass
    environment = {"SPARKOWL_STORE__URL": url}
    usage = command("usage", "--data-dir", str(tmp_path), environment=environment)
    doctor = command("doctor", "--data-dir", str(tmp_path), environment=environment)

    name = "postgresql://ann@127.0.0.1:1/rows"
    assert str(refused.value).startswith(f"The database {name} cannot be used: ")
    assert usage.stderr.startswith(f"{name} cannot be read: ")
    [line] = [line for line in doctor.stdout.splitlines() if line.startswith("database")]
    assert line.split()[1:3] == ["bad", name]
    said = (str(refused.value), caplog.text, usage.stderr, doctor.stdout, doctor.stderr)
    assert not any(PASSWORD in text for text in said)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ann:{PASSWORD}@host/rows",
        f"postgresql://ann:{PASSWORD}@[host/rows",
        f"postgresql://ann:{PASSWORD}@host:port:1/rows?nothing={PASSWORD}",
    ],
)
def test_a_url_that_is_none_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    done = command("usage", "--data-dir", str(tmp_path), environment={"SPARKOWL_STORE__URL": url})

    assert done.returncode != 0
    assert "postgresql://user@host" in done.stderr
    assert "store" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


_WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from sparkowl.store.engine import UnusableDatabase, open_database
try:
    open_database("postgresql://host/rows")
except UnusableDatabase as error:
    print(error)
"""


def test_without_the_driver_the_extra_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_DRIVER], capture_output=True, text=True, check=True
    )

    assert "pip install 'sparkowl[postgresql]'" in done.stdout

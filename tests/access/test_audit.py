"""The audit log as a file, and what of a request it shows."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import stat
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import AT

from sparkowl.access.audit import Audit, Record
from sparkowl.access.hiding import HIDDEN, MAX_PARAMETERS, shown


def record(seconds: float = 0, **members: Any) -> Record:
    at = AT + timedelta(seconds=seconds)
    return Record(at=at, request_id="1", service="athena", source=None, user_agent=None, **members)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the file ----------------------------------------------------------------------------------


def test_a_line_is_appended_for_each_call_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    before = os.umask(0)
    try:
        audit = Audit(path)
        audit.write(record(operation="A"))
    finally:
        os.umask(before)
    audit.close()
    again = Audit(path)
    again.write(record(operation="B"))
    again.close()

    assert [line["operation"] for line in lines(path)] == ["A", "B"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_moved_or_removed_is_begun_anew_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.write(record(operation="A"))
    path.rename(tmp_path / "audit.jsonl.1")
    audit.write(record(0.9, operation="B"))
    audit.write(record(1, operation="C"))
    path.unlink()
    audit.write(record(2, operation="D"))
    audit.close()

    assert [line["operation"] for line in lines(tmp_path / "audit.jsonl.1")] == ["A", "B"]
    assert [line["operation"] for line in lines(path)] == ["D"]


async def test_lines_of_reads_are_written_together_and_before_any_later_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.open()

    audit.note(record(operation="A"))
    audit.note(record(operation="B"))
    assert lines(path) == []
    await asyncio.sleep(0)
    assert [line["operation"] for line in lines(path)] == ["A", "B"]

    audit.note(record(operation="C"))
    audit.write(record(operation="D"))
    assert [line["operation"] for line in lines(path)] == ["A", "B", "C", "D"]
    await asyncio.sleep(0)
    audit.note(record(operation="E"))
    audit.close()
    assert [line["operation"] for line in lines(path)] == ["A", "B", "C", "D", "E"]


async def test_no_more_lines_wait_than_are_worth_a_write(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    long = record(resource="r" * 1_000)

    for _ in range(100):
        audit.note(long)

    assert path.stat().st_size > 64 * 1024
    audit.close()
    assert len(lines(path)) == 100


def test_a_link_in_its_place_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")

    Audit(tmp_path / "audit.jsonl").write(record())

    assert not (tmp_path / "elsewhere").exists()
    assert "cannot be written" in caplog.text


def test_what_cannot_be_written_breaks_no_call_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    audit = Audit(folder / "audit.jsonl")

    for _ in range(3):
        audit.write(record(operation="lost"))
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]
    folder.mkdir()
    for _ in range(3):
        audit.write(record(operation="kept"))
    audit.close()

    assert [entry.levelno for entry in caplog.records] == [logging.ERROR, logging.WARNING]
    assert [line["operation"] for line in lines(folder / "audit.jsonl")] == ["kept"] * 3


FULL = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from sparkowl.access.audit import Audit, Record

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
audit = Audit(Path(sys.argv[1]))

def call(name):
    at = datetime.now(UTC)
    audit.write(Record(at=at, request_id="1", service="s3", source=None, user_agent=None,
                       operation=name))

call("before")
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
call("torn"); call("lost"); call("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
call("after"); call("later")
"""


def test_a_line_that_a_full_disk_cut_spoils_no_other(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: it cuts a write in the same way."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "audit.jsonl"

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )

    written = path.read_text().splitlines()
    assert len(written) == 4
    assert len(written[1]) == 20
    whole = [json.loads(line)["operation"] for n, line in enumerate(written) if n != 1]
    assert whole == ["before", "after", "later"]
    assert done.stderr.count("audit log cannot be written") == 1


def test_lines_of_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    def write() -> None:
        audit = Audit(path)
        for _ in range(100):
            audit.write(record(operation="x" * 100, parameters={"Description": "y" * 500}))
        audit.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines(path)) == 400


def test_without_a_path_nothing_is_written() -> None:
    Audit(None).write(record())


# --- who called --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "source"),
    [
        (False, None, "10.0.0.1"),
        (False, "1.2.3.4", "10.0.0.1"),
        (True, None, "10.0.0.1"),
        (True, "1.2.3.4", "1.2.3.4"),
        (True, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
    ],
)
def test_an_address_is_the_peers_or_what_the_proxy_saw(
    *, behind_proxy: bool, forwarded: str | None, source: str
) -> None:
    audit = Audit(None, behind_proxy=behind_proxy)
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}

    assert audit.begin("s3", "1", ("10.0.0.1", 5), headers, AT).source == source


@pytest.mark.parametrize("key", ["wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a" * 40, "A" * 129])
def test_what_does_not_look_like_a_key_id_is_not_shown(key: str) -> None:
    """It may be a secret that was put in the wrong place."""
    assert json.loads(record(access_key_id=key).line())["access_key_id"] == "NOT_A_KEY_ID"


@given(st.text(), st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_nothing_that_a_caller_sends_ends_a_line(
    agent: str, operation: str, key: str, parameters: dict[str, str]
) -> None:
    one = record(operation=operation, access_key_id=key, parameters=parameters)
    one.user_agent = agent

    line = one.line()

    assert line.isascii()
    assert line.count(b"\n") == 1
    assert not set(line[:-1]) & set(range(32))
    assert json.loads(line)["request_id"] == "1"


@given(
    st.recursive(st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_a_line_is_never_long(value: Any) -> None:
    one = record(
        parameters={"A": value, "B": "x" * 10_000, "C" * 5_000: value}, resource="r" * 9_999
    )
    one.user_agent = "u" * 10_000

    assert len(one.line()) < 3 * MAX_PARAMETERS


# --- what is hidden ----------------------------------------------------------------------------


def test_code_and_notebooks_are_hidden_wherever_they_are() -> None:
    found = shown(
        {
            "SessionId": "1",
            "CodeBlock": "canary",
            "CalculationConfiguration": {"CodeBlock": "canary"},
            "Payload": "canary",
            "ContentMD5": "canary",
            "Description": "nightly",
        }
    )

    assert found == {
        "SessionId": "1",
        "CodeBlock": HIDDEN,
        "CalculationConfiguration": {"CodeBlock": HIDDEN},
        "Payload": HIDDEN,
        "ContentMD5": HIDDEN,
        "Description": "nightly",
    }


@pytest.mark.parametrize(
    "key",
    [
        "spark.hadoop.fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.access.key",
        "spark.my.PASSWORD",
        "spark.oauth.token",
        "spark.sql.catalog.c.credential",
        "fs.AccessKey",
        "spark.hadoop.fs.azure.account.key.lake.dfs.core.windows.net",
        "spark.hadoop.fs.azure.sas.raw.lake.blob.core.windows.net",
        "spark.my.api-key",
        "spark.ssl.keyPassphrase",
    ],
)
def test_properties_that_look_secret_are_hidden(key: str) -> None:
    engine = {
        "SparkProperties": {key: "canary", "spark.executor.cores": "2"},
        "Classifications": [{"Name": "spark-defaults", "Properties": {key: "canary"}}],
        "AdditionalConfigs": {key: "canary"},
    }

    found = shown({"EngineConfiguration": engine, "Tags": [{"Key": key, "Value": "canary"}]})

    assert "canary" not in json.dumps(found)
    assert found["EngineConfiguration"]["SparkProperties"]["spark.executor.cores"] == "2"


@pytest.mark.parametrize(
    "value",
    [
        "-Dpassword=canary",
        "Authorization: Basic canary",
        "jdbc:postgresql://me:canary@db.example.org/sales",
        "redis://:canary@cache.example.org",
        "https://store.example.org/a.ipynb?sv=1&sig=canary",
    ],
)
def test_a_property_whose_value_looks_secret_is_hidden_too(value: str) -> None:
    options = {"spark.driver.extraJavaOptions": value}

    assert "canary" not in json.dumps(shown({"EngineConfiguration": {"SparkProperties": options}}))


def test_a_url_without_a_password_is_shown() -> None:
    places = {"spark.my.place": "https://example.org:8443/a@b", "spark.other": "s3://lake/x:y@z"}

    assert shown({"SparkProperties": places})["SparkProperties"] == places


def test_members_whose_names_only_look_secret_are_shown() -> None:
    parameters = {"ClientRequestToken": "t" * 32, "NextToken": "n"}

    assert shown(parameters) == parameters


def test_what_is_too_long_is_cut_and_what_names_things_stays() -> None:
    tags = [{"Key": f"k{n}", "Value": "v" * 256} for n in range(50)]

    found = shown({"WorkGroup": "spark", "Description": "d" * 1000, "Tags": tags})

    assert found["WorkGroup"] == "spark"
    assert found["Tags"] == "TOO_LONG"
    assert found["Description"].startswith("d" * 100)
    assert len(json.dumps(found)) <= MAX_PARAMETERS

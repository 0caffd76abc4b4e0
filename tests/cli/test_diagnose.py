"""``sparkowl sessions diagnose``: what happened is in the archive, and no secret is."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.builders import make_calculation, make_driver, make_session
from tests.cli.commands import command

from sparkowl import credentials
from sparkowl.agent import kernel
from sparkowl.cli.redaction import GONE, Redactor, secrets_in
from sparkowl.credentials import Credentials
from sparkowl.domain import session_key
from sparkowl.domain.ids import new_session_id
from sparkowl.domain.session import State
from sparkowl.launchers import lookat, postmortem
from sparkowl.launchers.postmortem import Keep
from sparkowl.store import Store, calculations, drivers, sessions

CANARY = "canary-8c1f"


@pytest.fixture
def failed(tmp_path: Path) -> tuple[Path, str]:
    """A stopped server's data directory, with secrets wherever one may stand."""
    folder = tmp_path / "data"
    folder.mkdir()
    keys = credentials.load_or_create(folder)
    (folder / "sparkowl.toml").write_text(
        '[roles."arn:aws:iam::000000000000:role/a".environment]\n'
        f'DB_PASSWORD = "{CANARY}-role"\nSTAGE = "https://me:{CANARY}-url@host/x"\n'
        f'[catalog]\ndatabase = "postgresql://hive:{CANARY}%40hive@db/tables"\n'
    )
    (folder / "catalog").mkdir()
    (folder / "catalog" / "jvm.log").write_text(f"no connection as hive with {CANARY}@hive\n")
    properties = {"spark.my.secret": f"{CANARY}-property", "spark.sql.shuffle.partitions": "7"}
    session = make_session(
        state=State.FAILED,
        reason="Session in unhealthy state. [CRASH] The Spark JVM was killed by signal 9.",
        request={"EngineConfiguration": {"SparkProperties": properties}},
    )
    driver = make_driver(session_id=session.id)
    block = make_calculation(session_id=session.id, code=f"print('{CANARY}-code')")

    def write(tx: Connection) -> None:
        sessions.insert_session(tx, session)
        drivers.insert_driver(tx, driver)
        calculations.insert_calculation(tx, block)

    async def fill() -> None:
        store = Store.open(folder / "sparkowl.db")
        await store.write(write)
        store.close()

    asyncio.run(fill())
    run_dir = folder / "drivers" / driver.id
    (run_dir / "kernel").mkdir(parents=True)
    (run_dir / "conf").mkdir()
    (run_dir / "kernel" / "gateway").write_bytes(b"\0" * 8 + f"{CANARY}-gateway".encode())
    (run_dir / "kernel" / "connection.json").write_text(json.dumps({"key": f"{CANARY}-kernel"}))
    (run_dir / "conf" / "spark.properties").write_text(f"a.token={CANARY}\\u002dspark\n")
    (run_dir / "jvm.log").write_text(
        f"it died\nmy {CANARY}-property {CANARY}-gateway {CANARY}-kernel {CANARY}-spark\n"
        f"{keys.secret_access_key} {keys.server_secret} {keys.access_key_id}\n"
        f"PASSWORD={CANARY}-1 'api_token': '{CANARY}-2' jdbc://u:{CANARY}-3@h "
        f"?X-Amz-Signature={CANARY}-4&x=1 Authorization: Bearer {CANARY}-5 {CANARY}-role\n"
    )
    own, other = session_keys(keys, session.id), session_keys(keys, new_session_id())
    (run_dir / "aws").mkdir()
    (run_dir / "aws" / "credentials").write_text(
        f"[default]\naws_secret_access_key = {CANARY}-aws\naws_session_token = {CANARY}-sts\n"
    )
    (run_dir / "kernel.log").write_text(
        f"its keys are {own[0]} and {own[1]}, others' {other[0]}; {CANARY}-aws {CANARY}-sts\n"
    )
    (run_dir / "exit.json").write_text('{"reason": "The Spark JVM was killed by signal 9."}')
    (run_dir / "outbox").mkdir()
    cell = {"kind": "cell", "seq": 1, "calculation_id": "c", "code": f"{CANARY}-cell", "at": 1.0}
    (run_dir / "outbox" / "00000001.json").write_text(json.dumps(cell))
    (run_dir / "jupyter.log").write_text(f"500 GET /notebooks/s/x\nHTTP token={CANARY}-jupyter\n")
    return folder, session.id


def session_keys(keys: Credentials, session_id: str) -> tuple[str, str]:
    key = keys.key_for(session_key.PURPOSE)
    return session_key.key_id(session_id), session_key.secret(key, session_id)


def unpacked(folder: Path, session_id: str, *options: str) -> dict[str, str]:
    target = folder / "out.tar.gz"
    done = command(
        *("sessions", "diagnose", session_id, "--data-dir", str(folder)),
        *("--output", str(target), "--force", *options),
    )
    assert done.returncode == 0, done.stderr
    assert target.stat().st_mode & 0o777 == 0o600
    found = {}
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read().decode()
    return found


def test_what_happened_is_told_and_no_secret(failed: tuple[Path, str]) -> None:
    folder, session_id = failed
    keys = credentials.load(folder)
    assert keys is not None

    found = unpacked(folder, session_id)

    assert next(iter(found)) == "README.txt"
    assert "It is FAILED: Session in unhealthy state. [CRASH]" in found["README.txt"]
    assert "The agent's last word: The Spark JVM was killed by signal 9." in found["README.txt"]
    assert "it died" in found["logs/jvm.txt"]
    assert "500 GET /notebooks/s/x" in found["logs/jupyter.txt"]
    assert '"cell"' in found["processes.json"]
    assert json.loads(found["session.json"])["session"]["state"] == "FAILED"
    assert json.loads(found["calculations.json"])[0]["state"] == "RUNNING"
    assert '"spark.sql.shuffle.partitions": "7"' in found["session.json"]
    everything = "\n".join([*found, *found.values()])
    assert CANARY not in everything
    own = session_keys(keys, session_id)
    for secret in (keys.access_key_id, keys.secret_access_key, keys.server_secret, *own):
        assert secret not in everything
    assert found["logs/kernel.txt"].startswith("its keys are (redacted) and (redacted), others'")
    assert "ASIA" not in everything
    assert found["logs/metastore.txt"] == "no connection as hive with (redacted)\n"


def test_the_code_is_there_only_when_asked_for(failed: tuple[Path, str]) -> None:
    with_code = unpacked(*failed, "--with-code")
    assert f"{CANARY}-code" in with_code["calculations.json"]


def test_what_was_kept_of_a_driver_is_told_when_its_folder_is_gone(
    failed: tuple[Path, str],
) -> None:
    folder, session_id = failed
    (run_dir,) = (folder / "drivers").iterdir()
    rule = Keep(folder=folder / "postmortem", drivers=5, size_bytes=1 << 20)
    end = {"agent": "The driver's agent was killed by signal 9."}
    postmortem.keep(run_dir, run_dir.name, end, rule)
    run_dir.rename(folder / "away")

    found = unpacked(folder, session_id)

    assert "it died" in found["logs/jvm.txt"]
    assert "the logs are what was kept of them" in found["README.txt"]
    assert "The driver's agent was killed by signal 9." in found["README.txt"]


@pytest.mark.parametrize(
    ("given_id", "code", "said"),
    [
        ("00000000-0000-4000-8000-000000000000", 1, "There is no session"),
        ("../../etc", 2, "is not the id of a session"),
    ],
)
def test_an_unknown_session_is_a_clear_error(
    failed: tuple[Path, str], given_id: str, code: int, said: str
) -> None:
    done = command("sessions", "diagnose", given_id, "--data-dir", str(failed[0]))
    assert (done.returncode, said in done.stderr) == (code, True)


@given(secret=st.text(min_size=4, max_size=30), around=st.text(max_size=30))
def test_a_known_secret_is_nowhere_in_a_value(secret: str, around: str) -> None:
    redactor = Redactor([secret])
    cleaned = redactor.text(around + secret + around)
    assert secret not in cleaned.replace(GONE, "") or secret in GONE or secret in around * 2


def test_names_say_what_is_secret() -> None:
    value: dict[str, Any] = {
        "spark.hadoop.fs.s3a.access.key": "a-1-x",
        "list": [{"Key": "DB_PASSWORD", "Value": "b-2-x"}],
        "plain": "c",
        "none": None,
        "count": 3,
    }
    assert Redactor([]).value(value) == {
        "spark.hadoop.fs.s3a.access.key": GONE,
        "list": [{"Key": "DB_PASSWORD", "Value": GONE}],
        "plain": "c",
        "none": None,
        "count": 3,
    }
    assert list(secrets_in(value)) == ["a-1-x"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("password=hunter2 next", f"password={GONE} next"),
        ("db.password = 'two words' next", f"db.password = '{GONE}' next"),
        ('{"secretKey": "a \\"b\\" c", "n": 1}', f'{{"secretKey": "{GONE}", "n": 1}}'),
        ("run --db-password hunter2 --fast", f"run --db-password {GONE} --fast"),
        ("X-Access-Key: abc", f"X-Access-Key: {GONE}"),
        ("fs.azure.account.key.x: abc", f"fs.azure.account.key.x: {GONE}"),
        ("-----BEGIN RSA PRIVATE KEY-----\nab\n-----END RSA", f"{GONE} RSA"),
        ("-----BEGIN PRIVATE KEY-----\nab", GONE),
        ('"https://a.example/b.ipynb?sig=abc"', f'"https://a.example/b.ipynb?{GONE}"'),
        ("the token was refused, they said", "the token was refused, they said"),
    ],
)
def test_what_a_log_says_is_secret_is_taken_out(said: str, shown: str) -> None:
    assert Redactor([]).text(said) == shown


def test_a_hyphen_does_not_hide_a_secrets_name() -> None:
    assert Redactor([]).value({"access-key": "abc"}) == {"access-key": GONE}


def test_the_agent_and_the_launcher_agree_on_the_dump() -> None:
    assert (kernel.DUMP_SIGNAL, kernel.DUMP_DESCRIPTOR) == (
        lookat.DUMP_SIGNAL,
        lookat.DUMP_DESCRIPTOR,
    )

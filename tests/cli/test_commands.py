"""The command line against a server without Spark: what it prints, and how it ends."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.commands import SPARKOWL, command, sparkowl


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A data directory with a server on it."""
    folder = str(tmp_path_factory.mktemp("cli"))
    command = [SPARKOWL, "serve", "--data-dir", folder, "--port", "0", "--launcher", "fake"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("SparkOwl is ready at http://127.0.0.1:")
        yield folder
        process.terminate()
        assert process.wait(30) == 0


def test_env_prints_what_a_shell_can_evaluate(data_dir: str) -> None:
    printed = sparkowl("env", "--data-dir", data_dir).stdout

    first, *words = [shlex.split(line) for line in printed.splitlines()]
    assert first[0] == "unset"
    assert {"AWS_SESSION_TOKEN", "AWS_PROFILE"} < set(first)
    assert [word[0] for word in words] == ["export"] * 4
    assert [word[1].partition("=")[0] for word in words] == [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
    ]


def test_env_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    found = sparkowl("env", "--data-dir", str(tmp_path))

    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr == f"No server runs on {tmp_path}. Start one with: sparkowl serve\n"


def test_run_prints_the_output_and_reuses_its_session(data_dir: str) -> None:
    first = sparkowl("run", "-", "--data-dir", data_dir, given="hello")
    before = sparkowl("sessions", "list", "--data-dir", data_dir).stdout
    second = sparkowl("run", "-", "--data-dir", data_dir, given="again")
    after = sparkowl("sessions", "list", "--data-dir", data_dir).stdout

    assert (first.returncode, first.stdout) == (0, "hello")
    assert (second.returncode, second.stdout) == (0, "again")
    assert after.count("sparkowl run") == before.count("sparkowl run") >= 1


def test_run_of_a_failing_block_ends_with_status_one_and_its_error(data_dir: str) -> None:
    found = sparkowl("run", "-", "--data-dir", data_dir, given="fail because")

    assert (found.returncode, found.stderr) == (1, "because")


def test_run_follows_the_environment_when_no_data_directory_is_named(data_dir: str) -> None:
    printed = sparkowl("env", "--data-dir", data_dir).stdout
    pairs = (shlex.split(line)[1].partition("=") for line in printed.splitlines()[1:])

    found = sparkowl("run", "-", given="hello", environment={k: v for k, _, v in pairs})

    assert (found.returncode, found.stdout) == (0, "hello")


def test_run_in_an_unknown_session_is_one_line_and_status_one(data_dir: str) -> None:
    found = sparkowl("run", "-", "--session", "nope", "--data-dir", data_dir, given="x")

    assert (found.returncode, found.stderr) == (1, "Session nope is not found.\n")


def test_interrupting_run_stops_the_calculation_and_ends_with_130(data_dir: str) -> None:
    command = [SPARKOWL, "run", "--new", "-", "--data-dir", data_dir]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        process.stdin.write("hang")
        process.stdin.close()
        process.stdin = None
        _await_busy(data_dir)

        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (130, "Stopped.\n")


def _await_busy(data_dir: str) -> None:
    listing = ("sessions", "list", "--state", "busy", "--data-dir", data_dir)
    while len(sparkowl(*listing).stdout.splitlines()) < 2:
        pass


def test_sessions_show_and_terminate(data_dir: str) -> None:
    sparkowl("run", "--new", "-", "--data-dir", data_dir, given="x")
    session = sparkowl("sessions", "list", "--data-dir", data_dir).stdout.splitlines()[1].split()[0]

    shown = json.loads(sparkowl("sessions", "show", session, "--data-dir", data_dir).stdout)
    ended = sparkowl("sessions", "terminate", session, "--data-dir", data_dir)

    assert (shown["SessionId"], shown["WorkGroup"]) == (session, "spark")
    assert {"asked", "ready", "warm"} <= shown["StartTimeline"].keys()
    assert ended.stdout == f"{session} TERMINATING\n"


def test_doctor_says_that_the_server_runs(data_dir: str) -> None:
    found = sparkowl("doctor", "--data-dir", data_dir)

    lines = {line.split()[0]: line for line in found.stdout.splitlines()}
    assert "runs at http://127.0.0.1:" in lines["server"]
    assert lines["spark"].split()[1] == "ok"


def test_doctor_ends_with_status_one_when_java_is_not_there(tmp_path: Path) -> None:
    found = sparkowl(
        "doctor",
        "--data-dir",
        str(tmp_path),
        environment={"SPARKOWL_DRIVER__JAVA_HOME": str(tmp_path / "nowhere")},
    )

    assert found.returncode == 1
    line = next(line for line in found.stdout.splitlines() if line.startswith("java"))
    assert "bad" in line
    assert "Java 17 or 21" in line


def test_doctor_sees_that_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        found = sparkowl("doctor", "--data-dir", str(tmp_path), environment={"SPARKOWL_PORT": port})

    assert found.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in found.stdout


def test_serve_on_a_taken_port_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        found = sparkowl("serve", "--data-dir", str(tmp_path), "--port", port)

    assert found.returncode == 1
    assert found.stderr == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Give another --port (0 takes a free one).\n"
    )
    assert not (tmp_path / "server.json").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SPARKOWL_DRIVER__HEAP", "lots", "Setting driver.heap: "),
        ("SPARKOWL_PORT", "http", "Setting port: "),
        ("SPARKOWL_POOL__SIZES", "2", "There is no setting pool.sizes. Is pool.size meant?"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    found = sparkowl("serve", "--data-dir", str(tmp_path), environment={name: value})

    assert found.returncode == 2
    assert found.stderr.startswith(says), found.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[catalog]\ndatabase = 'mysql://owl:hunter2@host/db'", "catalog.database"),
        ("[store]\nurl = 'mysql://owl:hunter2@host/db'", "store.url"),
        ("[objects]\nkind = 's3'\nsecret_access_key = ['hunter2']", "objects.secret_access_key"),
        (
            "[roles.'arn:aws:iam::000000000000:role/etl']\nsecret_access_key = ['hunter2']",
            "roles.arn:aws:iam::000000000000:role/etl.secret_access_key",
        ),
        ("[unmapped_role]\nsecret_access_key = ['hunter2']", "unmapped_role.secret_access_key"),
    ],
)
def test_a_secret_that_breaks_a_rule_is_named_and_not_shown(
    tmp_path: Path, text: str, named: str
) -> None:
    (tmp_path / "sparkowl.toml").write_text(text)

    found = command("jars", "list", "--data-dir", str(tmp_path))

    assert found.returncode == 2
    assert found.stderr.startswith(f"Setting {named}: ")
    assert "hunter2" not in found.stderr


def test_a_wrong_line_of_the_settings_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("[driver]\nheep = '1g'\n")

    found = sparkowl("serve", "--data-dir", str(tmp_path))

    assert found.returncode == 2
    assert found.stderr == "There is no setting driver.heep. Is driver.heap meant?\n"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("host = '192.0.2.1'\nport = 1\n")

    found = sparkowl(
        "serve",
        "--data-dir",
        str(tmp_path),
        "--host",
        "192.0.2.3",
        environment={"SPARKOWL_HOST": "192.0.2.2", "SPARKOWL_PORT": "2"},
    )

    assert found.returncode == 1
    assert "Refusing to listen on 192.0.2.3 without TLS" in found.stderr


def test_env_after_a_killed_server_says_that_none_runs(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 2**30}))

    found = sparkowl("env", "--data-dir", str(tmp_path))

    assert (found.returncode, found.stdout) == (1, "")

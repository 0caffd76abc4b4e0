"""The main job, as a newcomer does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import SPARKOWL, Server, User, wait_for

pytestmark = pytest.mark.spark

AWS = str(Path(sys.executable).with_name("aws"))


@pytest.fixture(scope="module")
def session(user: User) -> str:
    """One for all tests that leave it as it was."""
    return user.session()


def test_a_session_keeps_its_state_and_survives_a_block_that_fails(
    user: User, session: str
) -> None:
    first = user.run(session, "x = 41\nspark.range(3).createOrReplaceTempView('numbers')")
    second = user.run(session, "x += 1\nprint(x, spark.table('numbers').count())")
    failed, _, stderr = user.run(session, "\nfoobar")
    after = user.run(session, "print(x)")

    assert first[1] == ""
    assert first[0]["Status"]["State"] == "COMPLETED"
    assert "StateChangeReason" not in first[0]["Status"]
    assert first[0]["Statistics"]["Progress"] == "100%"
    assert first[0]["Statistics"]["DpuExecutionInMillis"] > 0
    assert second[1] == "42 3\n"
    assert failed["Status"]["State"] == "FAILED"
    assert failed["Status"]["StateChangeReason"] == "NameError: name 'foobar' is not defined"
    expected = "File \"<stdin>\", line 2, in <module>\nNameError: name 'foobar' is not defined"
    assert stderr.strip() == expected
    assert after[1] == "42\n"


def test_results_hold_the_value_and_the_figure(user: User, session: str) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n6 * 7"

    found, _, _ = user.run(session, code)

    outputs = json.loads(user.read(found["Result"]["ResultS3Uri"]))["outputs"]
    assert found["Result"]["ResultType"] == "application/vnd.aws.athena.v1+json"
    assert any(output["data"].get("image/png") for output in outputs)
    assert outputs[-1]["data"]["text/plain"] == "42"


def test_a_bucket_made_while_a_session_runs_is_there_for_its_next_block(
    user: User, session: str
) -> None:
    user.s3.create_bucket(Bucket="made-later")
    user.s3.put_object(Bucket="made-later", Key="in/a.csv", Body=b"k,v\na,1\nb,2\n")
    code = (
        "df = spark.read.csv('s3://made-later/in/', header=True)\n"
        "df.write.partitionBy('k').parquet('s3a://made-later/out')\n"
        "print(spark.read.parquet('s3://made-later/out').count())"
    )

    found, stdout, stderr = user.run(session, code)

    keys = [o["Key"] for o in user.s3.list_objects_v2(Bucket="made-later")["Contents"]]
    assert (found["Status"]["State"], stdout) == ("COMPLETED", "2\n"), stderr
    assert any(key.startswith("out/k=a/part-") for key in keys)
    assert not any(key.endswith(".crc") for key in keys)


def test_progress_and_stdout_can_be_seen_while_a_block_runs(user: User, session: str) -> None:
    code = (
        "print('begun', flush=True)\n"
        "import time\n"
        "sc.parallelize(range(40), 40).foreach(lambda _: time.sleep(0.4))"
    )
    calculation = user.submit(session, code)
    name = {"CalculationExecutionId": calculation}

    seen = wait_for(
        lambda: user.athena.get_calculation_execution(**name),
        lambda found: found["Statistics"]["Progress"] not in {"0%", "100%"},
    )

    assert seen["Status"]["State"] == "RUNNING"
    assert user.read(seen["Result"]["StdOutS3Uri"]) == "begun\n"
    user.athena.stop_calculation_execution(**name)
    ended = user.await_state(calculation, {"CANCELED"})
    assert ended["Status"]["StateChangeReason"]
    assert user.read(ended["Result"]["StdOutS3Uri"]) == "begun\n"
    assert user.run(session, "print(spark.range(5).count())")[1] == "5\n"


def test_run_shows_the_output_and_ends_with_the_calculations_status(server: Server) -> None:
    good = server.command("run", "-", input="print('from a file')\nkept = 1")
    again = server.command("run", "-", input="print(kept)")
    fresh = server.command("run", "--new", "-", input="print('kept' in globals())")
    bad = server.command("run", "-", input="1 / 0")
    missing = server.command("run", "no-such-file.py")

    assert (good.returncode, good.stdout) == (0, "from a file\n")
    assert again.stdout == "1\n"
    assert fresh.stdout == "False\n"
    assert bad.returncode == 1
    assert bad.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert (missing.returncode, missing.stderr) == (
        2,
        "no-such-file.py: No such file or directory\n",
    )


def test_ctrl_c_on_run_stops_the_calculation(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text("print('begun', flush=True)\nwhile True: pass\n")
    command = [SPARKOWL, "run", str(script), "--data-dir", str(server.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"

        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == 130


def test_run_whose_reader_goes_away_stops_the_calculation(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "talker.py"
    script.write_bytes(b"\xef\xbb\xbfwhile True: print('line' * 1000, flush=True)\n")
    command = [SPARKOWL, "run", "--new", str(script), "--data-dir", str(server.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, stderr = process.communicate(timeout=60)

    assert first.startswith(b"line")
    assert (process.returncode, stderr) == (141, b"")
    wait_for(
        lambda: server.command("sessions", "list", "--state", "busy").stdout.splitlines(),
        lambda lines: len(lines) == 1,
    )


def test_the_aws_command_line_reads_a_calculations_output(
    server: Server, user: User, session: str
) -> None:
    found, _, _ = user.run(session, "print('for the command line')")
    location = found["Result"]["StdOutS3Uri"]

    copied = subprocess.run(
        [AWS, "s3", "cp", location, "-"],
        env=server.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert copied.stdout == "for the command line\n", copied.stderr


def test_sessions_can_be_listed_shown_and_ended_from_the_command_line(
    server: Server, user: User
) -> None:
    session = user.session(Description="mine [red]\n")
    user.timeline(session)  # it is shown once it is there

    listed = server.command("sessions", "list")
    shown = json.loads(server.command("sessions", "show", session).stdout)
    ended = server.command("sessions", "terminate", session)

    assert any(line.startswith(session) for line in listed.stdout.splitlines())
    assert "mine [red]" in listed.stdout
    assert shown["Status"]["State"] == "IDLE"
    assert shown["StartTimeline"]["ready"] >= shown["StartTimeline"]["asked"]
    assert isinstance(shown["StartTimeline"]["warm"], bool)
    assert ended.stdout == f"{session} TERMINATING\n"
    user.await_session(session, {"TERMINATED"})

"""awswrangler and PyAthena themselves, as a user runs them: only the environment says where to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

from tests.serving import Server


def run(server: Server, script: str) -> Any:
    """Run a script in a process of its own; what it prints, a line of JSON."""
    keys = server.running.credentials
    environment = os.environ | {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_awswrangler_sets_up_a_session_and_runs_calculations_in_it(server: Server) -> None:
    """It looks every five seconds, so this takes some of them."""
    found = run(
        server,
        """
        import json
        import awswrangler as wr

        session = wr.athena.create_spark_session(
            workgroup="spark",
            spark_properties={"spark.sql.shuffle.partitions": "4"},
        )
        answer = wr.athena.run_spark_calculation(
            code="print('x')", workgroup="spark", session_id=session
        )
        try:
            wr.athena.run_spark_calculation(
                code="fail NameError: x", workgroup="spark", session_id=session
            )
        except wr.exceptions.CalculationFailed as failed:
            why = str(failed)
        try:
            wr.athena.create_spark_session(
                workgroup="spark", spark_properties={"spark.driver.extraJavaOptions": "x"}
            )
        except wr.exceptions.SessionFailed as failed:
            refused = str(failed)
        print(json.dumps([session, answer, why, refused], default=str))
        """,
    )

    session_id, answer, why, refused = found
    athena = server.client()
    session = athena.get_session(SessionId=session_id)
    assert session["EngineConfiguration"] == {
        "CoordinatorDpuSize": 1,
        "MaxConcurrentDpus": 5,
        "DefaultExecutorDpuSize": 1,
        "SparkProperties": {"spark.sql.shuffle.partitions": "4"},
    }
    assert session["SessionConfiguration"]["SessionIdleTimeoutInMinutes"] == 15
    assert answer["Status"]["State"] == "COMPLETED"
    assert answer["SessionId"] == session_id
    assert answer["Result"]["StdOutS3Uri"].startswith("s3://")
    assert why == "NameError: x"
    assert "spark.driver.extraJavaOptions" in refused
    athena.terminate_session(SessionId=session_id)


def test_pyathenas_spark_cursor_runs_reads_cancels_and_closes_twice(server: Server) -> None:
    found = run(
        server,
        """
        import json, threading, time
        from pyathena import OperationalError, connect
        from pyathena.spark.cursor import SparkCursor

        connection = connect(work_group="spark", cursor_class=SparkCursor, poll_interval=0.02)
        cursor = connection.cursor(description="from PyAthena", session_idle_timeout_minutes=7)
        cursor.execute("print('ü')", description="block")
        done = {
            "session": cursor.session_id,
            "stdout": cursor.get_std_out(),
            "stderr": cursor.get_std_error(),
            "state": cursor.state,
            "reason": cursor.state_change_reason,
            "millis": cursor.dpu_execution_in_millis,
            "progress": cursor.progress,
            "type": cursor.result_type,
            "directory": cursor.working_directory,
        }
        try:
            cursor.execute("fail NameError: name 'foobar' is not defined")
        except OperationalError as failed:
            done["failed"] = str(failed)

        def cancel():
            while not cursor.calculation_id:
                time.sleep(0.01)
            time.sleep(0.2)
            cursor.cancel()

        cursor._calculation_id = None
        canceling = threading.Thread(target=cancel)
        canceling.start()
        try:
            cursor.execute("hang")
        except OperationalError:
            done["canceled"] = cursor.state
        canceling.join()

        again = connection.cursor(session_id=cursor.session_id)
        again.execute("second cursor")
        done["again"] = again.get_std_out()
        again.close()
        cursor.close()
        cursor.close()
        # As PyAthena 3 does, whose fixture closes what the test has closed.
        for _ in range(2):
            connection.client.terminate_session(SessionId=cursor.session_id)
        try:
            connection.cursor(session_id="00000000-0000-0000-0000-000000000000")
        except OperationalError as missing:
            done["missing"] = str(missing)
        print(json.dumps(done))
        """,
    )

    assert found["stdout"] == "print('ü')"
    assert found["stderr"] == ""
    assert (found["state"], found["reason"]) == ("COMPLETED", None)
    assert found["millis"] > 0
    assert found["progress"]
    assert found["type"] == "application/vnd.aws.athena.v1+json"
    assert found["directory"].startswith("s3://")
    assert "name 'foobar' is not defined" in found["failed"]
    assert found["canceled"] == "CANCELED"
    assert found["again"] == "second cursor"
    assert found["missing"] == "Session: 00000000-0000-0000-0000-000000000000 not found."
    session = server.client().get_session(SessionId=found["session"])
    assert session["Description"] == "from PyAthena"
    assert session["EngineConfiguration"]["MaxConcurrentDpus"] == 2
    assert session["Status"]["State"] in {"TERMINATING", "TERMINATED"}

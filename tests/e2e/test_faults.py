"""What breaks, and what is left of it: nothing, but a true state and a reason."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import ENDED, GONE, Server, User, pid_of, processes_of, running, wait_for

pytestmark = pytest.mark.spark

UNHEALTHY = "Session in unhealthy state. Please create a new session"


@pytest.fixture(scope="module")
def bystander(user: User) -> str:
    """A session that must not notice anything."""
    return user.session()


@pytest.mark.parametrize("part", ["agent", "kernel", "jvm"])
def test_a_driver_part_killed_while_idle_fails_the_session_and_leaves_nothing(
    server: Server, user: User, bystander: str, part: str
) -> None:
    session = user.session()
    driver = user.athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"]

    os.kill(pid_of(server.data_dir, session, user, part), signal.SIGKILL)

    status = user.await_session(session, GONE)
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"].startswith(UNHEALTHY)
    assert "signal 9" in status["StateChangeReason"]
    folder = server.data_dir / "drivers" / driver
    wait_for(lambda: (folder.exists(), processes_of(folder)), lambda left: left == (False, {}))
    assert user.run(bystander, "print(spark.range(2).count())")[1] == "2\n"


@pytest.mark.parametrize("part", ["agent", "kernel", "jvm"])
def test_a_driver_part_killed_while_busy_fails_the_calculation_with_its_outputs_kept(
    server: Server, user: User, part: str
) -> None:
    session = user.session()
    code = (
        "import time\nprint('so far', flush=True)\n"
        "sc.parallelize(range(2), 2).foreach(lambda _: time.sleep(600))"
    )
    calculation = user.submit(session, code)
    wait_for(
        lambda: user.athena.get_calculation_execution(CalculationExecutionId=calculation),
        lambda found: "Result" in found and user.read(found["Result"]["StdOutS3Uri"]) != "",
    )

    os.kill(pid_of(server.data_dir, session, user, part), signal.SIGKILL)

    found = user.await_state(calculation, ENDED)
    assert found["Status"]["State"] == "FAILED"
    assert "signal 9" in found["Status"]["StateChangeReason"]
    assert user.read(found["Result"]["StdOutS3Uri"]) == "so far\n"
    assert isinstance(user.read(found["Result"]["StdErrorS3Uri"]), str)
    assert user.read(found["Result"]["ResultS3Uri"]).startswith("{")
    assert user.await_session(session, GONE)["State"] == "FAILED"


def test_a_killed_agents_children_are_found_without_their_tag(server: Server, user: User) -> None:
    session = user.session()
    driver = user.athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"]
    code = "import subprocess\nprint(subprocess.Popen(['/bin/sleep', '9877'], env={}).pid)"
    child = Path("/proc") / user.run(session, code)[1].strip()
    assert child.exists()

    os.kill(pid_of(server.data_dir, session, user, "agent"), signal.SIGKILL)

    user.await_session(session, GONE)
    wait_for(lambda: child.exists(), lambda there: not there)
    wait_for((server.data_dir / "drivers" / driver).exists, lambda there: not there)


def test_user_code_cannot_change_the_servers_limits(server: Server, user: User) -> None:
    session = user.session()
    code = (
        "import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0)\n"
        f"resource.prlimit({server.process.pid}, resource.RLIMIT_NOFILE, (10, 10))"
    )

    found, stdout, _ = user.run(session, code)

    assert stdout == "True\n"
    assert found["Status"]["StateChangeReason"].startswith("PermissionError: ")
    user.end(session)


def test_a_property_that_spark_refuses_is_named(user: User) -> None:
    properties = {"spark.sql.shuffle.partitions": "many"}

    session = user.start_session(EngineConfiguration={"SparkProperties": properties})

    status = user.await_session(session, GONE)
    assert status["State"] == "FAILED"
    assert "spark.sql.shuffle.partitions" in status["StateChangeReason"]
    assert "many" in status["StateChangeReason"]


def test_terminating_a_busy_session_cancels_its_calculation(server: Server, user: User) -> None:
    session = user.session()
    calculation = user.submit(session, "while True: pass")
    user.await_state(calculation, {"RUNNING"})
    driver = user.athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"]

    answer = user.athena.terminate_session(SessionId=session)

    assert answer["State"] == "TERMINATING"
    assert user.await_session(session, GONE)["State"] == "TERMINATED"
    found = user.await_state(calculation, ENDED)
    assert found["Status"]["State"] == "CANCELED"
    assert user.read(found["Result"]["ResultS3Uri"]).startswith("{")
    assert processes_of(server.data_dir / "drivers" / driver) == {}


def test_a_refused_property_fails_the_session_and_one_of_launch_starts_it_cold(user: User) -> None:
    refused = user.start_session(
        EngineConfiguration={"SparkProperties": {"spark.driver.extraJavaOptions": "-Dx=y"}}
    )
    cold = user.session(
        EngineConfiguration={
            "SparkProperties": {
                "spark.sql.shuffle.partitions": "7",
                "spark.default.parallelism": "3",
                "not.spark": "ignored",
            }
        }
    )
    code = "print(spark.conf.get('spark.sql.shuffle.partitions'), sc.defaultParallelism)"

    status = user.await_session(refused, GONE)

    assert status["State"] == "FAILED"
    assert "spark.driver.extraJavaOptions" in status["StateChangeReason"]
    assert user.run(cold, code)[1] == "7 3\n"
    user.end(cold)


def test_a_session_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, POOL__SIZE="0") as server:
        user = User(server.client("athena"), server.client("s3"))
        session = user.session()
        user.run(session, "kept = 'still here'")
        busy = user.submit(session, "import time\ntime.sleep(3)\nprint('done')")
        user.await_state(busy, {"RUNNING"})

        server.kill()
        server.start()

        user = User(server.client("athena"), server.client("s3"))
        found = user.await_state(busy, ENDED)
        assert found["Status"]["State"] == "COMPLETED", server.log()
        assert user.read(found["Result"]["StdOutS3Uri"]) == "done\n"
        user.await_session(session, {"IDLE"})
        assert user.run(session, "print(kept)")[1] == "still here\n"


def test_kept_sessions_outlive_a_server_that_is_stopped(tmp_path: Path) -> None:
    with running(tmp_path, POOL__SIZE="0", KEEP_SESSIONS="true") as server:
        user = User(server.client("athena"), server.client("s3"))
        session = user.session()
        user.run(session, "kept = 'still here'")

        server.stop()
        server.start()

        user = User(server.client("athena"), server.client("s3"))
        assert user.run(session, "print(kept)")[1] == "still here\n"
        user.end(session)


def test_without_java_a_session_fails_with_what_to_do(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-java")
    with running(tmp_path, POOL__SIZE="0", DRIVER__JAVA_HOME=nowhere) as server:
        user = User(server.client("athena"), server.client("s3"))

        status = user.await_session(user.start_session(), GONE)

    assert status["State"] == "FAILED"
    assert nowhere in status["StateChangeReason"]
    assert "Java 17 or 21" in status["StateChangeReason"]

"""How a driver begins and ends, and that nothing of it is left: with real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.agent.conftest import eventually
from tests.proc import command_of

from sparkowl.agent.messages import Adopt, Adopted, Ended, Failed, Ready, Started

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark

KERNEL, JVM = "sparkowl.agent.kernel", "org.apache.spark.deploy.SparkSubmit"


def adopt(driver: Driver, **changes: object) -> None:
    values = {
        "session_id": "s-1",
        "work_group": "spark",
        "engine_version": "Apache Spark version 4.1",
        "started_at": "2026-01-02T03:04:05Z",
        "properties": {},
        "buckets": {},
    }
    driver.server.send(Adopt(**(values | changes)))  # type: ignore[arg-type]


def test_a_whole_life(start: Start, tmp_path: Path) -> None:
    driver = start(warm=True, cache_dir=str(tmp_path))
    ready = driver.ready()
    marks = [ready.marks[name] for name in ("agent", "jvm", "context", "ready")]
    assert marks == sorted(marks)
    assert ready.spark_version.startswith("4.")
    assert ready.java_version.split(".")[0] in ("17", "21")
    assert ready.archive == "missing"
    assert ready.isolation.startswith(("landlock v", "none: "))

    adopt(driver, properties={"spark.sql.shuffle.partitions": "7"})
    assert driver.server.first(Adopted).session_id == "s-1"
    adopt(driver, properties={"spark.sql.shuffle.partitions": "7"})
    driver.server.wait(lambda: [m for m in driver.server.heard if isinstance(m, Adopted)][1:])
    assert driver.run("spark.conf.get('spark.sql.shuffle.partitions')").value == "'7'"

    done = driver.run("%status\n%session_id\n%list_sessions\n%help\n%set_log_level WARN")
    assert done.stdout.startswith(
        "Session ID: s-1\nState: BUSY\nWorkgroup: spark\n"
        "Engine version: Apache Spark version 4.1\nStart time: 2026-01-02T03:04:05Z\ns-1\n"
    )
    assert "%plotly fig" in done.stdout
    assert done.ended.began_at > 0

    slow = driver.run("import time\ntime.sleep(0.2)").ended
    started = driver.server.first(Started, calculation_id=slow.calculation_id)
    assert ready.seq < done.ended.seq < started.seq < slow.seq
    assert started.at == slow.began_at

    fork = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)"
    driver.run(fork)
    driver.run("import subprocess\n_ = subprocess.Popen(['sleep', '602'], env={})")
    assert driver.stop() < 10
    assert driver.agent.returncode == 0
    driver.server.wait(lambda: driver.server.closed)
    assert driver.server.closed == [1000]
    assert not driver.processes()
    assert not any("sleep 602" in command_of(int(p.name)) for p in Path("/proc").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("victim", "name"), [(JVM, "Spark JVM"), (KERNEL, "Python kernel")], ids=["JVM", "kernel"]
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_killed_process_ends_the_driver(start: Start, victim: str, name: str, busy: bool) -> None:
    driver = start()
    driver.ready()
    if busy:
        running = driver.start("import time\nprint('begun', flush=True)\ntime.sleep(600)")
        driver.until_stdout(running, "begun")
    os.kill(driver.pid_of(victim), signal.SIGKILL)
    failed = driver.server.first(Failed)
    assert failed.reason == f"The {name} was killed by signal 9."
    if busy:
        done = driver.end(running)
        why = f"Calculation ended with its session [CRASH] {failed.reason}"
        assert (done.outcome, done.reason) == ("failed", why)
        assert done.stdout == "begun\n"
        assert done.ended.seq < failed.seq
    assert driver.agent.wait(30) == 1
    assert json.loads((driver.run_dir / "exit.json").read_text()) == {"reason": failed.reason}
    assert not driver.processes()
    assert list((driver.run_dir / "outbox").iterdir()) == []


def test_a_block_that_sees_the_jvm_die_is_told_the_cause_not_its_own_complaint(
    start: Start,
) -> None:
    driver = start()
    driver.ready()
    # Its connections go first, as with a JVM that is killed; its end can be seen only later.
    done = driver.run(
        "words = ['sh', '-c', 'sleep 1; kill -9 $PPID']\n"
        "sc._jvm.java.lang.ProcessBuilder(words).start()\n"
        "sc._gateway.shutdown()\n"
        "sc.parallelize([1]).count()"
    )
    why = "The Spark JVM was killed by signal 9."
    assert done.reason == f"Calculation ended with its session [CRASH] {why}"
    assert driver.server.first(Failed).reason == why
    assert driver.agent.wait(30) == 1


def test_a_block_that_ends_the_kernel_ends_the_session(start: Start) -> None:
    driver = start()
    driver.ready()
    done = driver.run("import os\nos._exit(3)")
    why = "The Python kernel exited with status 3."
    failed = driver.server.first(Failed)
    assert (failed.reason, failed.code) == (why, "CRASH")
    assert (done.outcome, done.reason) == (
        "failed",
        f"Calculation ended with its session [CRASH] {why}",
    )
    assert driver.agent.wait(30) == 1


def test_nothing_survives_a_killed_agent(start: Start) -> None:
    driver = start()
    driver.ready()
    running = driver.start("print('begun', flush=True)\nwhile True: pass")
    driver.until_stdout(running, "begun")
    driver.agent.kill()
    driver.agent.wait()
    eventually(lambda: not driver.processes())


def test_a_termination_signal_is_a_clean_stop(start: Start) -> None:
    driver = start()
    driver.ready()
    running = driver.start("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    driver.until_stdout(running, "begun")
    driver.agent.terminate()
    assert driver.agent.wait(10) == 0
    done = driver.end(running)
    assert (done.outcome, done.stdout) == ("canceled", "begun\n")
    assert not driver.processes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"java_home": "/nowhere"}, "The configured Java home /nowhere is no Java"),
        ({"heap": "1x"}, "Invalid maximum heap size: -Xmx1x"),
        (
            {"properties": {"spark.master": "nonsense"}},
            "Master must either be yarn or start with spark, k8s, or local",
        ),
    ],
    ids=["Java", "heap", "master"],
)
def test_a_start_that_fails_says_why(start: Start, changes: dict[str, object], reason: str) -> None:
    driver = start(**changes)
    assert reason in driver.server.first(Failed).reason
    assert driver.agent.wait(30) == 1
    assert not driver.processes()
    assert not [m for m in driver.server.heard if isinstance(m, Ready)]


@pytest.mark.parametrize("warehouse", ["", "s3://results/warehouse"], ids=["in place", "moved"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_property_that_spark_refuses_is_named(
    start: Start, *, warm: bool, warehouse: str
) -> None:
    """A cold start brings it with the launch; Spark may find it only when it is first asked."""
    properties = {"spark.sql.shuffle.partitions": "many"}
    driver = start(warm=warm, properties={} if warm else properties)
    driver.ready()

    adopt(driver, properties=properties, warehouse=warehouse)

    failed = driver.server.first(Failed)
    assert failed.code == "USER"
    assert "spark.sql.shuffle.partitions" in failed.reason
    assert "many" in failed.reason
    driver.agent.wait(30)
    assert not driver.processes()


def test_a_stop_during_the_start_leaves_nothing(start: Start) -> None:
    driver = start()
    driver.server.wait(lambda: driver.server.dials)
    eventually(lambda: len(driver.processes()) == 3)
    assert driver.stop() < 10
    assert not driver.processes()


def test_a_command_that_comes_early_waits_for_the_driver(start: Start) -> None:
    driver = start()
    eventually(lambda: driver.server.connected)
    running = driver.start("6 * 7")
    assert driver.end(running).value == "42"
    heard = [type(m) for m in driver.server.heard]
    assert heard.index(Ready) < heard.index(Ended)

"""Executors on a real cluster: a master and a worker of Spark's own, on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.agent.conftest import QUICK, eventually
from tests.proc import children_of

from sparkowl.agent import java, jvm
from sparkowl.agent.messages import Executor
from sparkowl.domain.executor import is_failure

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

#: A master, a worker, two executors and a driver: many JVMs for a machine that does other things.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

#: The worker starts executors with an option that small Java runtimes refuse to know.
_JAVA = """#!/bin/bash
kept=()
for word; do [ "$word" = --add-modules=jdk.incubator.vector ] || kept+=("$word"); done
exec {java} "${{kept[@]}}"
"""
_MASTER = re.compile(r"spark://127\.0\.0\.1:\d+")


class Cluster:
    """A master and one worker with two cores."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.master = self._start(
            "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"
        )
        self.url = self._said("master.Master", _MASTER)
        self.worker = self._start(
            *("worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "--cores", "2"),
            *("--memory", "2g", "--work-dir", str(folder / "work"), self.url),
        )

    def _start(self, part: str, *arguments: str) -> subprocess.Popen[bytes]:
        found, home = java.find(None, os.environ), jvm.spark_home()
        launcher = self._folder / "java" / "bin" / "java"
        launcher.parent.mkdir(parents=True, exist_ok=True)
        launcher.write_text(_JAVA.format(java=found.executable))
        launcher.chmod(0o700)
        main = f"org.apache.spark.deploy.{part}"
        with (self._folder / part).open("wb") as log:
            process = subprocess.Popen(
                [str(launcher), *jvm.FLAGS, "-cp", jvm.class_path(home), main, *arguments],
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "JAVA_HOME": str(launcher.parent.parent),
                    "SPARK_HOME": str(home),
                    "SPARK_LOCAL_IP": "127.0.0.1",
                    # Spark's scripts set it, which are not used here.
                    "SPARK_SCALA_VERSION": "2.13",
                },
            )
        self._stack.callback(_end, process)
        return process

    def _said(self, part: str, what: re.Pattern[str]) -> str:
        log = self._folder / part
        eventually(lambda: what.search(log.read_text()) is not None)
        found = what.search(log.read_text())
        assert found is not None
        return found[0]

    def executors(self) -> list[int]:
        """The processes of the executors."""
        return children_of(self.worker.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path_factory.mktemp("cluster"), stack)


@contextmanager
def on(cluster: Cluster, start: Start, **properties: str) -> Iterator[Driver]:
    """A driver on the cluster with executors of one core each."""
    driver = start(
        properties={
            "spark.master": cluster.url,
            "spark.executor.cores": "1",
            "spark.executor.memory": "512m",
            "spark.executor.extraJavaOptions": f"-XX:+UseSerialGC {QUICK}",
            "spark.sql.shuffle.partitions": "2",
            **properties,
        }
    )
    driver.ready()
    yield driver
    driver.stop()
    eventually(lambda: not cluster.executors())


def told(driver: Driver) -> dict[str, Executor]:
    """What the agent said last of each executor."""
    heard = driver.server.heard
    return {message.executor_id: message for message in heard if isinstance(message, Executor)}


def lives(driver: Driver, number: int) -> Any:
    return [e for e in told(driver).values() if not e.ended_at][number - 1 :] or None


ANOTHER_CONTEXT = """
spark.stop()
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
sc = spark.sparkContext
"""
JOB = "print(sc.parallelize(range(8), 4).map(lambda x: x * x).sum())"


def test_workers_are_told_of_as_they_come_and_are_lost_and_in_a_second_context(
    cluster: Cluster, start: Start
) -> None:
    with on(cluster, start) as driver:
        assert driver.run(JOB).stdout == "140\n"
        driver.server.wait(lambda: lives(driver, 2))
        first = told(driver)
        assert set(first) == {"0", "1"}
        assert {executor.cores for executor in first.values()} == {1}
        ready = driver.ready().marks
        assert all(executor.started_at > ready["jvm"] for executor in first.values())
        assert "driver" not in first

        os.kill(cluster.executors()[0], signal.SIGKILL)
        lost = driver.server.wait(lambda: [e for e in told(driver).values() if e.ended_at])[0]
        driver.server.wait(lambda: told(driver).get("2"))

        assert "137" in lost.reason
        assert is_failure(lost.reason)
        assert lost.started_at == first[lost.executor_id].started_at
        assert lost.ended_at > lost.started_at
        assert driver.run(JOB).stdout == "140\n"
        assert {e.executor_id for e in told(driver).values() if not e.ended_at} == (
            {"0", "1", "2"} - {lost.executor_id}
        )

        assert driver.run(ANOTHER_CONTEXT + JOB).stdout == "140\n"
        driver.server.wait(lambda: {"0.2", "1.2"} <= set(told(driver)) or None)
        assert {name for name, e in told(driver).items() if e.ended_at} == {"0", "1", "2"}


def test_workers_that_spark_gives_back_did_not_fail(cluster: Cluster, start: Start) -> None:
    with on(
        cluster,
        start,
        **{
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.executorIdleTimeout": "1s",
        },
    ) as driver:
        assert driver.run(JOB).stdout == "140\n"
        driver.server.wait(lambda: told(driver) or None)
        ended = driver.server.wait(
            lambda: (
                told(driver)
                if told(driver) and all(e.ended_at for e in told(driver).values())
                else None
            )
        )

        assert not any(is_failure(executor.reason) for executor in ended.values())


def test_on_one_machine_nothing_is_told(driver: Driver) -> None:
    assert driver.run(JOB).stdout == "140\n"
    driver.run("import time\ntime.sleep(5)")

    assert told(driver) == {}

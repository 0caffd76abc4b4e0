"""Stopping a block, whatever it is doing, and leaving the session usable: on a real driver."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import SHUT_RDWR
from typing import TYPE_CHECKING

import pytest
from tests.agent.conftest import DEADLINE_S, eventually

from sparkowl.agent.folder import Folder
from sparkowl.agent.messages import Cancel, Failed
from sparkowl.agent.spark import SparkLine, SparkRefused, SparkUnreachable

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark

NO_JOBS = "len(sc.statusTracker().getActiveJobsIds())"

BLOCKS = {
    "a busy loop": "while True: pass",
    "a sleep": "import time; time.sleep(600)",
    "an await": "import asyncio; await asyncio.sleep(600)",
    "a program": "import subprocess; subprocess.run(['sleep', '600'])",
    "a Spark job": "spark.range(10**13).selectExpr('sum(hash(id))').collect()",
    "jobs in a loop": "while True: spark.range(10**7).selectExpr('sum(hash(id))').collect()",
    "a sleeping UDF": (
        "import time\nfrom pyspark.sql.functions import udf\n"
        "spark.range(2).select(udf(lambda i: time.sleep(600))('id')).collect()"
    ),
    "a job in a thread of the user": (
        "import threading, time\n"
        "job = lambda: spark.range(10**13).selectExpr('sum(hash(id))').collect()\n"
        "threading.excepthook = lambda _: None\n"
        "thread = threading.Thread(target=job)\nthread.start()\n"
        "while not sc.statusTracker().getActiveJobsIds():\n    time.sleep(0.01)\n"
        "print('at work', flush=True)\nthread.join()"
    ),
    "one who ignores the first interrupt": (
        "import time\nfor _ in range(2):\n    try:\n        time.sleep(600)\n"
        "    except KeyboardInterrupt:\n        pass"
    ),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_is_stopped_within_seconds(driver: Driver, block: str) -> None:
    driver.run(NO_JOBS)
    running = driver.start(f"print('begun', flush=True)\n{block}")
    driver.until_stdout(running, "at work" if "at work" in block else "begun")
    done = driver.cancel(running)
    assert (done.outcome, done.reason) == ("canceled", "")
    assert done.seconds < 15
    assert done.stdout.startswith("begun\n")
    # On a busy machine Spark hears late of the starts and ends of its jobs.
    eventually(lambda: driver.run(NO_JOBS).value == "0")
    assert driver.run("spark.range(10).count()").value == "10"


def test_stopping_what_is_unknown_or_over_changes_nothing(driver: Driver) -> None:
    done = driver.run("1")
    driver.server.send(Cancel(calculation_id=done.ended.calculation_id))
    driver.server.send(Cancel(calculation_id="never seen"))
    assert driver.run("2").value == "2"


def test_a_block_that_was_stopped_before_it_came_is_not_run(driver: Driver) -> None:
    driver.run("touched = False")
    driver.server.send(Cancel(calculation_id="early"))
    done = driver.end(driver.start("touched = True", calculation_id="early"))
    assert (done.outcome, done.stdout, done.results) == ("canceled", "", [])
    assert driver.run("touched").value == "False"


def test_what_holds_out_costs_the_session(start: Start) -> None:
    driver = start()
    driver.ready()
    running = driver.start(
        "import time\nprint('begun', flush=True)\nwhile True:\n    try:\n        time.sleep(600)\n"
        "    except KeyboardInterrupt:\n        pass"
    )
    driver.until_stdout(running, "begun")
    done = driver.cancel(running)
    assert done.outcome == "canceled"
    assert done.seconds < 30
    failed = driver.server.first(Failed)
    assert failed.code == "USER"
    assert failed.reason == "A block did not stop within 20 s, so its Python kernel was killed."
    assert driver.agent.wait(30) == 1
    assert not driver.processes()


def test_a_shell_that_holds_the_interrupt_back_gets_it_as_well(driver: Driver) -> None:
    running = driver.start("import os\nprint('begun', flush=True)\nos.system('sleep 601')")
    driver.until_stdout(running, "begun")
    done = driver.cancel(running)
    assert (done.outcome, done.seconds < 15) == ("canceled", True)
    assert subprocess.run(["pgrep", "-f", "sleep 601"], stdout=subprocess.PIPE).stdout == b""
    assert driver.run("1").value == "1"


@pytest.fixture
def line(driver: Driver) -> Iterator[SparkLine]:
    """Another line to the driver's JVM, as the agent's own."""
    one = SparkLine(Folder(driver.run_dir).gateway)
    yield one
    one.close()


async def until_at_work(line: SparkLine, *, expected: bool) -> None:
    """Also the agent's own looks at Spark are calls, and Spark hears late of its jobs' ends."""
    async with asyncio.timeout(DEADLINE_S):
        while await line.at_work() is not expected:
            await asyncio.sleep(0.05)


async def test_spark_is_at_work_while_a_call_from_python_is(
    driver: Driver, line: SparkLine
) -> None:
    await until_at_work(line, expected=False)
    driver.run(
        "import threading\n"
        "latch = sc._jvm.java.util.concurrent.CountDownLatch(1)\n"
        "call = threading.Thread(target=getattr(latch, 'await'))\n"
        "call.start()"
    )
    await until_at_work(line, expected=True)
    driver.run("latch.countDown()\ncall.join()")
    await until_at_work(line, expected=False)


async def test_a_line_that_the_jvm_hung_up_on_asks_again(line: SparkLine) -> None:
    """Seen after interrupts of blocks. With one connection py4j asks again by itself."""
    assert await line.answers()
    client = line._gateway._gateway_client
    client._give_back_connection(client._create_connection())
    for connection in client.deque:
        connection.socket.shutdown(SHUT_RDWR)
    await line.at_work()
    assert line._gateway._gateway_client is not client


async def test_what_java_refuses_is_told_from_a_jvm_that_is_not_there(
    line: SparkLine, tmp_path: Path
) -> None:
    with pytest.raises(SparkRefused, match=r"^spark\.sql\.shuffle\.partitions: .*many"):
        await line.configure({"spark.sql.shuffle.partitions": "many"})

    away = SparkLine(tmp_path / "gateway")
    with pytest.raises(SparkUnreachable) as raised:
        await away.configure({"spark.sql.shuffle.partitions": "7"})
    assert not isinstance(raised.value, SparkRefused)
    away.close()

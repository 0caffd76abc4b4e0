"""The line to a server that goes away, comes back, or does not want the driver any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.agent.conftest import eventually

from sparkowl.agent.messages import Ended, Failed, Progress, Started, decode

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark


def until_all_is_told(driver: Driver, running: str) -> None:
    driver.server.first(Started, calculation_id=running)
    eventually(lambda: list((driver.run_dir / "outbox").iterdir()) == [])


def test_what_happened_while_the_server_was_away_is_told_in_order(driver: Driver) -> None:
    running = driver.start(
        "import pathlib, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path('go').exists():\n    time.sleep(0.01)"
    )
    driver.until_stdout(running, "begun")
    until_all_is_told(driver, running)
    driver.server.close()
    (driver.run_dir / "work" / "go").touch()
    outbox = driver.run_dir / "outbox"
    eventually(lambda: len(list(outbox.iterdir())) == 1)
    driver.server.open()
    assert driver.end(running).outcome == "completed"
    eventually(lambda: list(outbox.iterdir()) == [])
    assert driver.run("1").value == "1"


def test_facts_are_repeated_until_they_are_acknowledged(driver: Driver) -> None:
    driver.server.acknowledges = False
    done = driver.run("1")
    driver.server.close()
    driver.server.acknowledges = True
    driver.server.open()

    def heard_twice() -> bool:
        ids = [m.calculation_id for m in driver.server.heard if isinstance(m, Ended)]
        return ids.count(done.ended.calculation_id) == 2

    driver.server.wait(lambda: heard_twice() or None)
    sequence = [m.seq for m in driver.server.heard if not isinstance(m, Progress)]  # type: ignore[union-attr]
    assert sequence[-2:] == sorted(sequence[-2:])


def test_progress_of_a_spark_job_never_falls(driver: Driver) -> None:
    done = driver.run(
        "from pyspark.sql.functions import udf\nimport time\n"
        "slow = udf(lambda i: time.sleep(0.5))\n"
        "for _ in range(2):\n"
        "    spark.range(0, 6, 1, 6).select(slow('id')).collect()"
    )
    assert done.outcome == "completed", done.stderr
    percents = [
        m.percent
        for m in driver.server.heard
        if isinstance(m, Progress) and m.calculation_id == done.ended.calculation_id
    ]
    assert percents == sorted(percents)
    assert 0 < percents[-1] < 100


def test_a_frame_that_is_no_command_is_passed_over(driver: Driver) -> None:
    driver.server.send_text("nonsense")
    driver.server.send_text('{"kind": "ended"}')
    assert driver.run("1").value == "1"


def test_a_driver_that_nobody_knows_ends_itself(start: Start) -> None:
    driver = start()
    driver.ready()
    driver.server.refuses = True
    driver.server.drop()
    assert driver.agent.wait(20) == 0
    assert not driver.processes()


def test_a_driver_does_not_wait_for_ever_for_its_server(start: Start) -> None:
    driver = start(away_idle_s=1.0, away_busy_s=4.0)
    driver.ready()
    driver.start("import time\nprint('begun', flush=True)\ntime.sleep(2)")
    driver.server.close()
    assert driver.agent.wait(30) == 0
    assert not driver.processes()
    assert (driver.run_dir / "exit.json").read_text() == (
        '{"reason": "The server stayed away too long."}'
    )


def test_a_server_that_is_back_is_dialled_at_once_however_long_it_was_away(driver: Driver) -> None:
    driver.run("1")
    driver.server.close()
    # Long enough for the pauses between dials to have grown to seconds.
    log = driver.base / "agent.log"
    before = log.read_text().count("The link is down")
    eventually(lambda: log.read_text().count("The link is down") >= before + 6)
    dials = driver.server.dials
    driver.server.open()
    opened = time.monotonic()
    eventually(lambda: driver.server.dials > dials)
    assert time.monotonic() - opened < 1.5
    assert driver.run("1").value == "1"


def test_idle_time_counts_from_the_end_of_the_last_calculation(start: Start) -> None:
    driver = start(away_idle_s=1.5, away_busy_s=60.0)
    driver.ready()
    running = driver.start(
        "import pathlib, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path('go').exists():\n    time.sleep(0.01)"
    )
    driver.until_stdout(running, "begun")
    until_all_is_told(driver, running)
    driver.server.close()
    time.sleep(2)  # longer than it may be alone when idle: real time is what this is about
    assert driver.agent.poll() is None
    ended_at = time.monotonic()
    (driver.run_dir / "work" / "go").touch()
    assert driver.agent.wait(30) == 0
    assert time.monotonic() - ended_at > 1.4
    left = [decode(f.read_text()) for f in sorted((driver.run_dir / "outbox").iterdir())]
    assert [type(fact) for fact in left] == [Ended, Failed]
    assert left[0].outcome == "completed"  # type: ignore[union-attr]

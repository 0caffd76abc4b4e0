"""The Jupyter process beside a driver: its life, its confinement, and what it lets the page do to
kernel and JVM. Real ones; the process is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.agent.conftest import eventually
from tests.agent.page import AGENT, BASE, STANDIN, TOKEN, Page, adopt, open_page, send_adopt

from sparkowl.agent import confine
from sparkowl.agent.folder import Folder
from sparkowl.agent.messages import Adopted, Failed, Ready, Restarted, Started

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark

KERNEL, JVM = "sparkowl.agent.kernel", "org.apache.spark.deploy.SparkSubmit"

confined = pytest.mark.skipif(confine.unavailable() is not None, reason="there is no Landlock")


@pytest.fixture(scope="module")
def page(start: Start) -> Iterator[Page]:
    one = open_page(start)
    yield one
    one.close()


def jupyters(driver: Driver) -> int:
    try:
        return driver.pid_of(STANDIN)
    except LookupError:
        return 0


def test_it_is_told_once_what_to_serve(page: Page) -> None:
    adopt(page.driver)
    assert page.do("told") == [
        {
            "tell": "serve",
            "base_url": BASE,
            "token": TOKEN,
            "notebook": "n.ipynb",
            "connection_file": str(page.driver.run_dir / "kernel" / "connection.json"),
        }
    ]


def test_it_gets_a_folder_and_next_to_no_environment(page: Page) -> None:
    seen = page.do("see")
    folder = page.driver.run_dir / "jupyter"
    assert seen["cwd"] == seen["environment"]["HOME"] == str(folder)
    assert not {name for name in seen["environment"] if "SECRET" in name or "TOKEN" in name}
    assert seen["umask"] == 0o077
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "s").stat().st_mode & 0o077 == 0


@confined
def test_it_reaches_its_own_folder_and_the_kernels_sockets_and_nothing_else(page: Page) -> None:
    run_dir, base = page.driver.run_dir, page.driver.base
    reach = {
        place: page.do("reach", path=str(place))
        for place in (
            run_dir / "jupyter",
            run_dir / "kernel",
            run_dir / "work",
            run_dir / "outbox",
            run_dir / "server-url",
            base / "server.key",
            base / "buckets" / "lake",
            base / "results",
        )
    }
    (run_dir / "jupyter" / "mine").unlink()
    nothing = {"reads": False, "writes": False}
    assert reach.pop(run_dir / "jupyter") == {"reads": True, "writes": True}
    assert reach.pop(run_dir / "kernel") == {"reads": True, "writes": False}
    assert all(found == nothing for found in reach.values()), reach


@confined
def test_user_code_does_not_reach_it(page: Page) -> None:
    folder = str(page.driver.run_dir / "jupyter")
    pid = page.driver.pid_of(STANDIN)
    code = f"""
import os
done = []
for act in (
    lambda: os.listdir({folder!r}),
    lambda: open({folder + "/planted"!r}, "w"),
    lambda: os.rename({folder!r}, {folder + ".away"!r}),
    lambda: os.unlink({folder + "/s"!r}),
    lambda: open("/proc/{pid}/mem", "rb"),
    lambda: os.readlink("/proc/{pid}/fd/0"),
    lambda: open("/proc/{pid}/environ", "rb").read(),
):
    try:
        done.append(act())
    except OSError:
        pass
done
"""
    assert page.driver.run(code).value == "[]"


def test_its_death_is_not_the_sessions(page: Page) -> None:
    page.driver.run("kept = 3")
    lost = page.run("of_the_dead = 1")
    calculation = page.cell("of_the_dead = 1")
    running = page.driver.start("print('begun', flush=True)\nimport time; time.sleep(3); kept")
    page.driver.until_stdout(running, "begun")
    before = page.driver.pid_of(STANDIN)
    page.do("die")
    eventually(lambda: jupyters(page.driver) not in (0, before))
    eventually(page.here)

    assert page.do("told")[0]["base_url"] == BASE
    assert page.driver.end(running).value == "3"
    assert not lost.done() or lost.exception() or lost.result() is None
    ended = page.driver.end(page.driver.start("of_the_dead = 1", calculation_id=calculation))
    assert (ended.outcome, ended.ended.began_at) == ("canceled", 0)
    answer, done = page.whole("kept + 1")
    assert (answer["answer"], done.value) == ({"run": True}, "4")


def test_one_that_makes_no_sense_is_replaced(page: Page) -> None:
    before = page.driver.pid_of(STANDIN)
    page.do("garble")
    eventually(lambda: jupyters(page.driver) not in (0, before))
    eventually(page.here)


def test_a_restart_is_another_kernel_and_another_spark_for_the_same_session(start: Start) -> None:
    page = open_page(start)
    driver = page.driver
    later = driver.buckets / "later"
    later.mkdir()
    (later / "data.txt").write_text("one\ntwo\n")
    adopt(
        driver,
        properties={"spark.sql.shuffle.partitions": "7"},
        buckets={"later": str(later)},
        packages=str(driver.buckets),
    )
    # Of a server that was restarted, and does not know the packages any more.
    send_adopt(
        driver,
        properties={"spark.sql.shuffle.partitions": "7"},
        buckets={"later": str(later)},
        credentials={"aws_access_key_id": "ASIANEW", "aws_secret_access_key": "new"},
    )
    driver.run("gone = 1\nimport subprocess\n_ = subprocess.Popen(['sleep', '603'], env={})")
    before = {what: driver.pid_of(what) for what in (KERNEL, JVM, STANDIN, "sleep")}

    running = page.run("print('begun', flush=True)\nimport time; time.sleep(600)")
    calculation = page.let("print('begun', flush=True)\nimport time; time.sleep(600)")
    driver.until_stdout(calculation, "begun")
    waiting = page.run("behind = 1")
    page.cell("behind = 1")
    handed = driver.start("'from the api'")
    driver.server.first(Started, calculation_id=calculation)
    restarts = [page.asking("restart") for _ in range(2)]

    for one in (calculation, handed):
        ended = driver.end(one)
        assert (ended.outcome, ended.reason) == ("canceled", "The kernel was restarted.")
    meanwhile = driver.start("spark.conf.get('spark.sql.shuffle.partitions')")
    assert [restart.result(60)["answer"] for restart in restarts] == [{}, {}]
    driver.server.first(Restarted)
    assert len([m for m in driver.server.heard if isinstance(m, Restarted)]) == 1
    assert len([m for m in driver.server.heard if isinstance(m, Ready)]) == 1
    assert waiting.result(60)["answer"] == {"run": False}
    late = driver.end(page.let("behind = 1"))
    assert (late.outcome, late.reason) == ("canceled", "The kernel was restarted.")

    assert driver.end(meanwhile).value == "'7'"
    assert driver.pid_of(STANDIN) == before[STANDIN]
    assert driver.pid_of(KERNEL) != before[KERNEL]
    assert driver.pid_of(JVM) != before[JVM]
    with pytest.raises(LookupError):
        driver.pid_of("sleep")
    assert driver.run("'gone' in globals(), spark.range(10).count()").value == "(False, 10)"
    assert driver.run("spark.read.text('s3://later/data.txt').count()").value == "2"
    assert driver.run("%session_id").stdout == "s-1\n"
    session = json.loads(Folder(driver.run_dir).session.read_text())
    assert session["packages"] == str(driver.buckets)
    assert "ASIANEW" in Folder(driver.run_dir).aws_credentials.read_text()
    answer, done = page.whole("6 * 7")
    assert (answer["answer"], answer["reply"]["execution_count"]) == ({"run": True}, 1)
    assert done.value == "42"
    assert not running.done()

    assert driver.stop() < 10
    assert not driver.processes()
    page.close()


def test_a_driver_is_lost_when_a_restart_fails(start: Start) -> None:
    page = open_page(start)
    driver = page.driver
    properties = driver.run_dir / "conf" / "spark.properties"
    properties.unlink()
    properties.mkdir()
    page.asking("restart")
    failed = driver.server.first(Failed)
    assert failed.reason.startswith("The driver could not be started: ")
    assert driver.agent.wait(30) == 1
    assert not driver.processes()
    page.close()


def test_one_that_was_ready_for_nothing_goes(start: Start) -> None:
    driver = start(command=["-c", AGENT], jupyter=True, jupyter_token=TOKEN)
    driver.ready()
    eventually(lambda: bool(jupyters(driver)))
    adopt(driver, jupyter_base="", notebook="")
    eventually(lambda: not jupyters(driver))
    assert driver.run("1").value == "1"

    # Nothing keeps a session that has one after all from being served.
    adopt(driver)
    page = Page(driver)
    eventually(page.here)
    assert page.do("told")[0]["notebook"] == "n.ipynb"
    page.close()


def test_one_that_was_not_asked_for_ahead_begins_with_the_session(start: Start) -> None:
    page = open_page(start, jupyter=False)
    answer, done = page.whole("6 * 7")
    assert (answer["answer"], done.value) == ({"run": True}, "42")
    assert page.driver.stop() < 10
    assert not page.driver.processes()
    page.close()


def test_nothing_of_it_survives_a_killed_agent(start: Start) -> None:
    page = open_page(start)
    page.driver.agent.kill()
    page.driver.agent.wait()
    eventually(lambda: not page.driver.processes())
    page.close()


WITHOUT = AGENT.replace("program = Program(", "program = Program(needs=('no_such_package',), ")


def test_a_session_fails_where_there_is_no_jupyter(start: Start) -> None:
    driver = start(command=["-c", WITHOUT], jupyter=True, jupyter_token=TOKEN)
    driver.ready()
    assert driver.run("1").value == "1"
    assert not jupyters(driver)
    send_adopt(driver)
    failed = driver.server.first(Failed)
    assert failed.reason == (
        "The session asks for a notebook, and the Python environment of its engine has no "
        "no_such_package package; its operator can install jupyter-server and notebook there."
    )
    assert failed.code == "SERVER"
    assert not [m for m in driver.server.heard if isinstance(m, Adopted)]
    assert driver.agent.wait(30) == 1

"""Cells of a page as calculations of its session: with a real kernel and Spark, and a stand-in for
the page that sends its own messages."""

# mypy: allow-untyped-calls
# Jupyter's own functions are typed only here and there.

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from jupyter_client import BlockingKernelClient
from tests.agent.conftest import eventually
from tests.agent.page import Page, open_page

from sparkowl.agent.messages import Cancel, Cell, Ended, Progress, Started

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def page(start: Start) -> Iterator[Page]:
    one = open_page(start)
    yield one
    one.close()


def test_a_cell_is_a_calculation_that_the_page_runs(page: Page) -> None:
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nspark.range(7).count()"
    answer, done = page.whole(code)

    assert answer["answer"] == {"run": True}
    assert answer["reply"]["status"] == "ok"
    assert (done.outcome, done.reason) == ("completed", "")
    assert (done.stdout, done.stderr, done.value) == ("out\n", "err\n", "7")
    cell = page.driver.server.first(Cell, code=code)
    assert cell.at <= done.ended.began_at <= done.ended.at
    ends = [m for m in page.driver.server.heard if isinstance(m, Ended)]
    assert [m.calculation_id for m in ends].count(cell.calculation_id) == 1


def test_cells_count_and_calculations_of_the_api_do_not(page: Page) -> None:
    first, _ = page.whole("first = 1")
    page.driver.run("between = 2")
    second, done = page.whole("first + between")

    assert done.value == "3"
    assert second["reply"]["execution_count"] == first["reply"]["execution_count"] + 1


def test_a_cell_waits_until_the_server_sends_it_back(page: Page) -> None:
    waiting = page.run("never_early = 1")
    page.cell("never_early = 1")

    assert page.driver.run("'never_early' in globals()").value == "False"
    assert not waiting.done()
    page.driver.end(page.let("never_early = 1"))
    assert waiting.result(60)["answer"] == {"run": True}
    assert page.driver.run("never_early").value == "1"


def test_cells_and_calculations_run_in_the_servers_order(page: Page) -> None:
    page.driver.run("order = []")
    one, two = page.run("order.append('cell 1')"), page.run("order.append('cell 2')")
    page.driver.start("import time; time.sleep(0.3); order.append('api 1')")
    page.let("order.append('cell 1')")
    page.driver.start("order.append('api 2')")
    page.driver.end(page.let("order.append('cell 2')"))

    assert one.result(60)["answer"] == two.result(60)["answer"] == {"run": True}
    assert page.driver.run("order").value == "['api 1', 'cell 1', 'api 2', 'cell 2']"


def test_a_cell_that_fails_takes_those_of_its_page_along(page: Page) -> None:
    boom = "print('begun', flush=True)\nimport time; time.sleep(0.5)\n1 / 0"
    failing = page.run(boom)
    page.cell(boom)
    codes = ["handed = 1", "yet_to_come = 1"]
    same = [page.run(code) for code in codes]
    other = page.run("other = 1", client="another tab")
    for code in [*codes, "other = 1"]:
        page.cell(code)
    failed = page.let(boom)
    handed = page.let(codes[0])
    done = page.driver.end(failed)

    assert (done.outcome, done.reason) == ("failed", "ZeroDivisionError: division by zero")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert failing.result(60)["reply"]["status"] == "error"
    assert [cell.result(60)["answer"] for cell in same] == [{"run": False}] * 2
    yet_to_come = page.let(codes[1])
    for calculation in (handed, yet_to_come):
        ended = page.driver.end(calculation)
        assert (ended.outcome, ended.ended.began_at, ended.results) == ("canceled", 0, [])
    page.driver.end(page.let("other = 1"))
    assert other.result(60)["answer"] == {"run": True}
    assert page.driver.run("'handed' in globals(), 'yet_to_come' in globals()").value == (
        "(False, False)"
    )


def test_a_cell_that_fails_alone_stops_nothing(page: Page) -> None:
    failing = page.run("2 / 0", stop_on_error=False)
    waiting = page.run("afterwards = 1")
    page.cell("afterwards = 1")
    assert page.driver.end(page.let("2 / 0")).outcome == "failed"
    assert page.driver.end(page.let("afterwards = 1")).outcome == "completed"
    assert failing.result(60)["answer"] == waiting.result(60)["answer"] == {"run": True}


def test_a_failing_calculation_of_the_api_stops_no_cell(page: Page) -> None:
    waiting = page.run("unharmed = 1")
    page.cell("unharmed = 1")
    assert page.driver.run("3 / 0").outcome == "failed"
    assert page.driver.end(page.let("unharmed = 1")).outcome == "completed"
    assert waiting.result(60)["answer"] == {"run": True}


def test_a_cell_is_cancelled_while_it_waits(page: Page) -> None:
    waiting = page.run("unwanted = 1")
    calculation = page.cell("unwanted = 1")
    page.driver.server.send(Cancel(calculation_id=calculation))

    assert waiting.result(60)["answer"] == {"run": False}
    ended = page.driver.end(page.let("unwanted = 1"))
    assert (ended.outcome, ended.ended.began_at) == ("canceled", 0)
    assert page.driver.run("'unwanted' in globals()").value == "False"


def test_a_cell_that_the_server_refuses_tells_the_page_why(page: Page) -> None:
    waiting = page.run("refused = 1")
    calculation = page.cell("refused = 1")
    page.driver.server.send(Cancel(calculation_id=calculation, reason="WorkGroup is disabled."))

    assert waiting.result(60)["error"]["message"] == "WorkGroup is disabled."
    assert page.driver.end(page.let("refused = 1")).outcome == "canceled"


def test_a_cell_is_cancelled_while_it_runs(page: Page) -> None:
    code = "print('begun', flush=True)\nwhile True: pass"
    running = page.run(code)
    calculation = page.let(code)
    page.driver.until_stdout(calculation, "begun")
    page.driver.server.first(Started, calculation_id=calculation)
    done = page.driver.cancel(calculation)

    assert (done.outcome, done.reason, done.stdout) == ("canceled", "", "begun\n")
    assert done.seconds < 15
    assert running.result(60)["reply"]["status"] == "error"


JOB = "print('begun', flush=True)\nspark.range(10**13).selectExpr('sum(hash(id))').collect()"


def test_an_interrupt_stops_a_spark_job_and_what_waits(page: Page) -> None:
    running, waiting = page.run(JOB), page.run("behind = 1")
    page.cell("behind = 1")
    calculation = page.let(JOB)
    page.driver.until_stdout(calculation, "begun")
    page.driver.server.first(Progress, calculation_id=calculation)
    eventually(lambda: bool(page.ask("progress")["answer"]["running"]["stages"]))
    now = page.ask("progress")["answer"]["running"]

    assert (now["calculation_id"], isinstance(now["msg_id"], str)) == (calculation, True)
    assert 0 <= now["percent"] < 100
    assert "collect" in now["stages"][0]["name"]
    assert 0 <= now["stages"][0]["done"] < now["stages"][0]["tasks"]

    assert page.ask("interrupt")["answer"] == {}
    done = page.driver.end(calculation)
    assert (done.outcome, done.reason) == ("canceled", "")
    assert running.result(60)["reply"]["status"] == "error"
    assert waiting.result(60)["answer"] == {"run": False}
    assert page.driver.end(page.let("behind = 1")).outcome == "canceled"
    # On a busy machine tasks let go late.
    eventually(lambda: page.driver.run("len(sc.statusTracker().getActiveJobsIds())").value == "0")
    assert page.ask("progress")["answer"] == {"running": None}


def test_an_interrupt_stops_a_calculation_of_the_api_as_well(page: Page) -> None:
    running = page.driver.start("print('begun', flush=True)\nimport time; time.sleep(600)")
    page.driver.until_stdout(running, "begun")
    now = page.ask("progress")["answer"]["running"]
    assert (now["calculation_id"], now["msg_id"]) == (running, None)
    page.ask("interrupt")
    assert page.driver.end(running).outcome == "canceled"


def test_an_interrupt_before_the_page_sent_its_cell_does_the_kernel_no_harm(page: Page) -> None:
    page.driver.run("kept = 6")
    page.run("lost = 2", sends=False)
    calculation = page.let("lost = 2")
    eventually(lambda: page.ask("progress")["answer"]["running"] is not None)
    page.ask("interrupt")
    assert page.driver.end(calculation).outcome == "canceled"
    assert page.driver.run("kept").value == "6"


def test_an_interrupt_of_nothing_changes_nothing(page: Page) -> None:
    page.driver.run("kept = 5")
    assert page.ask("interrupt")["answer"] == {}
    assert page.driver.run("kept").value == "5"


WIDGET = """
import threading
ends = threading.Event()
def works(comm, message):
    open('began', 'w').close()
    ends.wait(60)
get_ipython().kernel.comm_manager.register_target('widget', works)
"""


def open_in_a_subshell(driver: Driver, target: str) -> None:
    """As a page does for its widgets: their callbacks run beside the cells, in another thread."""
    client = BlockingKernelClient()
    client.load_connection_file(str(driver.run_dir / "kernel" / "connection.json"))
    # As the kernel has it, which started in the same folder.
    client.ip = f"/proc/{driver.agent.pid}/cwd/{client.ip}"
    client.start_channels(stdin=False, hb=False)
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    subshell = client.get_control_msg(timeout=30)["content"]["subshell_id"]
    opens = {"comm_id": "c-1", "target_name": target, "data": {}}
    message = client.session.msg("comm_open", opens)
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    eventually((driver.run_dir / "work" / "began").exists)
    client.stop_channels()


def test_an_interrupt_while_only_a_widget_works_does_the_kernel_no_harm(page: Page) -> None:
    page.driver.run(WIDGET)
    open_in_a_subshell(page.driver, "widget")
    for _ in range(3):
        assert page.ask("interrupt")["answer"] == {}

    answer, done = page.whole("ends.set()\nspark.range(3).count()")
    assert (answer["answer"], done.value) == ({"run": True}, "3")


def test_a_cell_that_its_page_does_not_send_ends_by_itself(page: Page) -> None:
    page.run("lost = 1", sends=False)
    done = page.driver.end(page.let("lost = 1"))
    assert done.outcome == "canceled"
    assert done.reason == "The notebook's page went away before it ran the cell."
    assert page.driver.run("'lost' in globals()").value == "False"


@pytest.mark.parametrize(
    ("what", "values", "why"),
    [
        ("cell", {"msg_id": 7, "client": "c", "code": "1"}, "msg_id is a text."),
        ("cell", {"msg_id": "m", "client": "c"}, "code is a text."),
        (
            "cell",
            {"msg_id": "m", "client": "c", "code": "1", "stop_on_error": 1},
            "stop_on_error is true or false.",
        ),
        ("save", {"payload": {}}, "payload is a text."),
        ("tea", {}, "Nobody here answers 'tea'."),
    ],
)
def test_what_makes_no_sense_is_refused(
    page: Page, what: str, values: dict[str, object], why: str
) -> None:
    assert page.ask(what, **values)["error"] == {"status": 400, "message": why}

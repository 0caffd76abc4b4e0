"""Cells of a page: they run through the agent, in order, and end as a page expects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.agent.jupyter import BASE, SESSION, TOKEN, FakeAgent, Page, serving

from sparkowl.agent.messages import page_took

pytestmark = pytest.mark.jupyter

IDLE = ("status", {"execution_state": "idle"})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    with serving(tmp_path_factory.mktemp("driver")) as agent:
        yield agent


@pytest.fixture
def agent(running: FakeAgent) -> Iterator[FakeAgent]:
    running.asked.clear()
    yield running
    running.holds = False
    running.errors.clear()


@pytest.fixture(params=[True, False], ids=["binary", "json"])
def page(agent: FakeAgent, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = Page(agent, binary=request.param, session=f"page-{time.monotonic_ns()}")
    yield page
    page.close()


def test_a_cell_runs_once_the_agent_says_so(agent: FakeAgent, page: Page) -> None:
    agent.holds = True
    cell = page.execute("print('owl')\n40 + 2", stop_on_error=False)
    [asked] = agent.cells(1)
    kernel_info = page.send("kernel_info_request", {})
    page.until("kernel_info_reply", kernel_info)
    said = {m["header"]["msg_type"] for m in page.heard if m["parent_header"]["msg_id"] == cell}
    agent.answer(asked, run=True)
    reply, outputs = page.outcome(cell)
    assert {key: asked[key] for key in ("ask", "msg_id", "client", "code", "stop_on_error")} == {
        "ask": "cell",
        "msg_id": cell,
        "client": page.session,
        "code": "print('owl')\n40 + 2",
        "stop_on_error": False,
    }
    assert said == set(), "the kernel had it before the agent's word"
    assert reply["status"] == "ok"
    assert ("stream", {"name": "stdout", "text": "owl\n"}) in outputs
    results = [
        content["data"]["text/plain"] for kind, content in outputs if kind == "execute_result"
    ]
    assert results == ["42"]


def test_cells_keep_their_order(agent: FakeAgent, page: Page) -> None:
    cells = [page.execute(f"{number}") for number in range(20)]
    for cell in cells:
        page.outcome(cell)
    started = [
        m["content"]["code"] for m in page.heard if m["header"]["msg_type"] == "execute_input"
    ]
    assert [frame["code"] for frame in agent.cells(20)] == [str(number) for number in range(20)]
    assert started == [str(number) for number in range(20)]


def test_a_cell_that_may_not_run_ends_as_aborted(agent: FakeAgent, page: Page) -> None:
    agent.holds = True
    cell = page.execute("open('made', 'w')")
    agent.answer(agent.cells(1)[0], run=False)
    reply, said = page.outcome(cell)
    assert reply == {"status": "aborted"}
    assert said == [("status", {"execution_state": "busy"}), IDLE]
    assert page.until("execute_reply", cell)["channel"] == "shell"
    assert not (agent.folder / "made").exists()


def test_what_the_agent_cannot_do_is_shown_as_the_cells_error(agent: FakeAgent, page: Page) -> None:
    agent.errors["cell"] = (503, "The server is away; run it again in a moment.")
    reply, said = page.outcome(page.execute("1"))
    why = "The cell was not run: The server is away; run it again in a moment."
    error = {"ename": "NotRun", "evalue": why, "traceback": [why]}
    assert reply == {"status": "error"} | error
    assert ("error", error) in said


def test_a_blank_cell_is_none(agent: FakeAgent, page: Page) -> None:
    reply, _ = page.outcome(page.execute(" \n"))
    assert reply["status"] == "ok"
    assert agent.asked == []


def test_expressions_are_code_too(agent: FakeAgent, page: Page) -> None:
    page.outcome(page.execute("", user_expressions={"x": "1 + 1"}))
    assert [frame["ask"] for frame in agent.asked] == ["cell"]


def test_input_is_asked_of_the_page(agent: FakeAgent, page: Page) -> None:
    cell = page.execute("input('who? ')")
    assert page.until("input_request", cell)["content"]["prompt"] == "who? "
    page.send("input_reply", {"value": "owl", "status": "ok"}, "stdin")
    _, said = page.outcome(cell)
    assert [content["data"] for kind, content in said if kind == "execute_result"] == [
        {"text/plain": "'owl'"}
    ]


def test_an_interrupt_is_the_agents(agent: FakeAgent, page: Page) -> None:
    cell = page.execute("import time\nprint('on')\ntime.sleep(60)")
    page.until("stream", cell)
    answer = post(agent, f"api/kernels/{SESSION}/interrupt")
    reply, _ = page.outcome(cell)
    assert answer.status_code == 204
    assert [frame["ask"] for frame in agent.asked] == ["cell", "interrupt"]
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")


def test_an_interrupt_by_message_is_the_agents_too(agent: FakeAgent, page: Page) -> None:
    cell = page.execute("import time\nprint('on')\ntime.sleep(60)")
    page.until("stream", cell)
    page.send("interrupt_request", {}, "control")
    assert page.until("interrupt_reply")["content"] == {"status": "ok"}
    assert page.outcome(cell)[0]["ename"] == "KeyboardInterrupt"
    assert [frame["ask"] for frame in agent.asked] == ["cell", "interrupt"]


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_a_page_cannot_end_the_kernel_by_a_message(
    agent: FakeAgent, page: Page, channel: str
) -> None:
    page.send("shutdown_request", {"restart": False}, channel)
    assert page.outcome(page.execute("1"))[0]["status"] == "ok"


def test_a_cell_on_the_control_channel_is_a_cell(agent: FakeAgent, page: Page) -> None:
    agent.holds = True
    page.send("execute_request", {"code": "open('round', 'w')"}, "control")
    agent.answer(agent.cells(1)[0], run=False)
    page.until("execute_reply")
    assert not (agent.folder / "round").exists()


def test_nonsense_is_dropped(agent: FakeAgent, page: Page) -> None:
    for frame in ("", "{}", "[]", '{"header": 1, "channel": "shell"}', b"\0" * 7, b"\xff" * 64):
        page.raw(frame)
    page.send("execute_request", {"code": 7})
    assert page.outcome(page.execute("1"))[0]["status"] == "ok"


def test_cells_of_a_page_that_closed_still_run(agent: FakeAgent) -> None:
    agent.holds = True
    page = Page(agent, session="gone")
    page.execute("open('still', 'w').close()")
    [asked] = agent.cells(1)
    page.close()
    Page(agent, session="another").close()
    agent.answer(asked, run=True)
    agent.holds = False
    looking = Page(agent, session="looking")
    _, said = looking.outcome(looking.execute("import os; os.path.exists('still')"))
    looking.close()
    assert [content["data"] for kind, content in said if kind == "execute_result"] == [
        {"text/plain": "True"}
    ]


def test_a_page_that_was_away_hears_what_it_missed(agent: FakeAgent) -> None:
    agent.holds = True
    page = Page(agent, session="flaky")
    cell = page.execute("print('meanwhile')")
    [asked] = agent.cells(1)
    page.close()
    agent.answer(asked, run=True)
    again = Page(agent, session="flaky")
    _, said = again.outcome(cell)
    again.close()
    assert ("stream", {"name": "stdout", "text": "meanwhile\n"}) in said


ON_ITS_WAY = ("stream", {"name": "stdout", "text": "on its way\n"})


def not_all_taken(agent: FakeAgent, session: str) -> tuple[Page, str]:
    """A page that took one cell's messages, and the next one's died with the server; that cell."""
    page = Page(agent, session=session)
    page.outcome(page.execute("print('before')"))
    page.raw(page_took(len(page.heard)))
    cell = page.execute("print('on its way')")
    page.outcome(cell)
    return page, cell


def test_a_page_that_lost_its_server_hears_again_what_it_had_not_taken(agent: FakeAgent) -> None:
    page, cell = not_all_taken(agent, "cut")
    page.close()

    again = Page(agent, session="cut")
    _, said = again.outcome(cell)
    # Heard again once, however often it comes back.
    again.raw(page_took(len(again.heard)))
    again.close()
    third = Page(agent, session="cut")
    third.outcome(third.execute("1"))
    third.close()

    assert ON_ITS_WAY in said
    assert "before\n" not in {m["content"].get("text") for m in again.heard}
    assert cell not in {m["parent_header"].get("msg_id") for m in third.heard}


def test_a_page_that_is_back_before_its_old_connection_was_missed(agent: FakeAgent) -> None:
    old, cell = not_all_taken(agent, "hasty")
    again = Page(agent, session="hasty")
    _, said = again.outcome(cell)
    old.close()
    again.close()
    assert ON_ITS_WAY in said


def test_a_page_that_is_cut_off_again_at_once_hears_it_later(agent: FakeAgent) -> None:
    page, cell = not_all_taken(agent, "unlucky")
    page.close()
    Page(agent, session="unlucky").close()  # before anything of it was acknowledged
    again = Page(agent, session="unlucky")
    _, said = again.outcome(cell)
    again.close()
    assert ON_ITS_WAY in said


def test_where_nobody_acknowledges_nothing_is_said_twice(agent: FakeAgent) -> None:
    page = Page(agent, session="earlier")
    page.outcome(page.execute("print('once')"))
    page.close()
    again = Page(agent, session="earlier")
    _, said = again.outcome(again.execute("2"))
    again.close()
    assert ("stream", {"name": "stdout", "text": "once\n"}) not in said


def test_completion_and_widgets_pass(agent: FakeAgent, page: Page) -> None:
    asked = page.send("complete_request", {"code": "impor", "cursor_pos": 5})
    assert "import" in page.until("complete_reply", asked)["content"]["matches"]
    comms = page.send("comm_info_request", {"target_name": "jupyter.widget"})
    assert page.until("comm_info_reply", comms)["content"]["status"] == "ok"
    assert agent.asked == []


def test_a_restart_gives_every_page_the_new_kernel(agent: FakeAgent, page: Page) -> None:
    other = Page(agent, session=f"other-{time.monotonic_ns()}")
    page.outcome(page.execute("left = 1"))
    running = other.execute("import time\nprint('on')\ntime.sleep(60)")
    other.until("stream", running)
    before = agent.kernel_pid
    answer = post(agent, f"api/kernels/{SESSION}/restart")
    assert (answer.status_code, answer.json()["id"]) == (200, SESSION)
    assert agent.kernel_pid != before
    for each in (page, other):
        reply, _ = each.outcome(each.execute("left"))
        assert reply["ename"] == "NameError", "the old kernel's names are gone"
    assert other.outcome(running)[0] == {"status": "aborted"}
    states = [m["content"].get("execution_state") for m in page.heard]
    assert "restarting" not in states, "a page takes that for a kernel that died"
    other.close()
    again = Page(agent, session=f"later-{time.monotonic_ns()}")
    assert again.outcome(again.execute("1"))[0]["status"] == "ok"
    again.close()


def test_a_page_that_reconnects_after_a_restart_goes_on(agent: FakeAgent) -> None:
    """Notebook's own page closes its connection at a restart, and opens it again."""
    page = Page(agent, session="mine")
    page.outcome(page.execute("left = 1"))
    post(agent, f"api/kernels/{SESSION}/restart")
    again = Page(agent, session="mine")
    reply, said = again.outcome(again.execute("print('new')\nleft"))
    page.close()
    again.close()
    assert reply["ename"] == "NameError"
    assert ("stream", {"name": "stdout", "text": "new\n"}) in said
    assert "Nudge" not in agent.log()


def test_a_page_opens_while_a_cell_runs(agent: FakeAgent) -> None:
    page, other = Page(agent, session="busy"), None
    cell = page.execute("import time\nprint('on')\ntime.sleep(60)")
    page.until("stream", cell)
    try:
        other = Page(agent, session="second")
        [kernel] = get(agent, "api/kernels").json()
        post(agent, f"api/kernels/{SESSION}/interrupt")
        assert other.until("error", cell)["content"]["ename"] == "KeyboardInterrupt"
        assert kernel["execution_state"] == "busy"
    finally:
        for each in (page, other):
            if each is not None:
                each.close()


def test_a_restart_that_fails_is_said(agent: FakeAgent, page: Page) -> None:
    agent.errors["restart"] = (503, "100% of the memory is taken.")
    answer = post(agent, f"api/kernels/{SESSION}/restart")
    assert answer.status_code == 500
    page.until_state("dead")


def get(agent: FakeAgent, path: str) -> httpx.Response:
    return ask(agent, "GET", path)


def post(agent: FakeAgent, path: str) -> httpx.Response:
    return ask(agent, "POST", path)


def ask(agent: FakeAgent, method: str, path: str) -> httpx.Response:
    transport = httpx.HTTPTransport(uds=str(Path(agent.folder) / "jupyter" / "s"))
    with httpx.Client(transport=transport, base_url=f"http://s{BASE}", timeout=90) as client:
        return client.request(method, path, headers={"Authorization": f"token {TOKEN}"})

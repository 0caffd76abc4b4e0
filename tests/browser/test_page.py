"""What the page shows beyond Notebook 7: a real Jupyter, a real browser, made-up answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, Response, expect
from tests.browser.plain import IDLE, Answers, Jupyter, jupyter

pytestmark = pytest.mark.jupyter

_NUMBERS: Final = count(1)
_HOSTILE: Final = "Stopped </span><img src=x onerror=\"document.title='hit'\"> <script>1</script>"
#: How long is waited for what the page asks or does, in milliseconds: the machine may be busy.
_PATIENT_MS: Final = 30_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as started:
        yield started


@pytest.fixture
def answers(page: Page) -> Answers:
    given = Answers()
    given.give(page)
    return given


#: Runs until the test lets it end.
WAITING: Final = "while not gate.exists(): time.sleep(0.05)\n'let go'"


class Opened:
    """A notebook in the browser: a cell that makes ``gate`` and has run, then those given."""

    def __init__(self, page: Page, server: Jupyter, answers: Answers, *cells: str) -> None:
        self.name = f"x-{next(_NUMBERS)}"
        self.page = page
        self.file = server.file(self.name)
        self.gate = self.file.with_suffix(".go")
        self._answers = answers
        first = f"import time, pathlib; gate = pathlib.Path({str(self.gate)!r})"
        page.goto(server.write(self.name, first, *(cells or ("1 + 1",))))
        expect(page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')).to_be_visible()
        # The page is up before all of it is there, and loses what is clicked too early.
        page.wait_for_load_state("networkidle")

    def said(self, name: str) -> Locator:
        return self.page.locator(f'[data-strip="{name}"]')

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> None:
        """Run it, until the page has sent it to the kernel."""
        before = len(self._answers.executed)
        self.cell(number).locator(".cm-content").click()
        self.page.locator('.jp-Toolbar [data-jp-item-name="run"]').click()
        self._await(lambda: len(self._answers.executed) > before)

    def run_until_let_go(self) -> None:
        """Run the second cell, which is ``WAITING``, behind the first."""
        self.run(0)
        self.await_done(0)
        self.run(1)

    def save(self) -> None:
        self.page.locator('.jp-Toolbar [data-jp-item-name="save"]').click()

    def let_go(self) -> None:
        self.gate.touch()
        self.await_done(1)

    def await_done(self, number: int) -> None:
        expect(self.cell(number).locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))

    def await_asked(self, what: str, times: int) -> None:
        """Until it was asked so many times more."""
        until = self._answers.asked.count(what) + times
        self._await(lambda: self._answers.asked.count(what) >= until)

    def _await(self, good: Callable[[], bool]) -> None:
        deadline = monotonic() + _PATIENT_MS / 1000
        while not good():
            assert monotonic() < deadline, self._answers
            self.page.wait_for_timeout(20)

    def look_again(self) -> None:
        """The tab was away and is looked at again."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_session_that_soon_stops_is_warned_of_and_kept_by_a_key(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    answers.session |= {"stops_in_s": 90.4}
    opened = Opened(page, server, answers)
    warning = page.get_by_role("alert")
    expect(warning).to_contain_text("This session is idle and will be stopped")
    # It counts down.
    expect(warning).to_contain_text("Time left: 1:2")

    keep = page.get_by_role("button", name="Keep the session")
    keep.focus()
    page.keyboard.press("Enter")

    expect(opened.said("idle")).to_have_count(0)
    assert answers.asked.count("POST extend") == 1


def test_a_session_that_has_time_is_not_warned_of(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    answers.session |= {"stops_in_s": 121}
    opened = Opened(page, server, answers)
    assert "GET session" in answers.asked
    assert opened.page.locator(".sparkowl-strip").count() == 0


def test_a_tab_that_was_away_is_warned_when_it_returns(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers)
    answers.session |= {"stops_in_s": 30}
    opened.look_again()
    expect(opened.said("idle")).to_be_visible()


def test_a_warning_goes_when_a_cell_runs(page: Page, server: Jupyter, answers: Answers) -> None:
    answers.session |= {"stops_in_s": 90}
    opened = Opened(page, server, answers)
    expect(opened.said("idle")).to_be_visible()
    answers.session = IDLE | {"state": "BUSY", "stops_in_s": None}
    opened.run(1)
    expect(opened.said("idle")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        (410, "TERMINATED", "The session has ended."),
        (200, "TERMINATING", "The session is ending."),
        (200, "FAILED", "The session has failed."),
    ],
)
def test_the_end_of_a_session_is_said_with_its_reason_as_text(
    page: Page, server: Jupyter, answers: Answers, status: int, state: str, said: str
) -> None:
    opened = Opened(page, server, answers)
    answers.status = status
    answers.session = IDLE | {"state": state, "reason": _HOSTILE, "stops_in_s": None}
    opened.look_again()

    ended = page.get_by_role("alert")
    expect(ended).to_contain_text(said)
    expect(ended).to_contain_text(_HOSTILE)
    expect(ended).to_contain_text("start another session")
    assert ended.locator("img, script").count() == 0


def test_what_was_not_saved_can_be_downloaded_after_the_end(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers, "1 + 1")
    opened.cell(1).locator(".cm-content").click()
    page.keyboard.press("End")
    page.keyboard.type(" + 40")
    answers.status, answers.session = 410, {"state": "TERMINATED", "reason": "Idle."}
    opened.look_again()
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download the notebook").click()

    assert begun.value.suggested_filename == f"{opened.name}.ipynb"
    _, cell = json.loads(begun.value.path().read_text())["cells"]
    assert cell["source"] == "1 + 1 + 40"
    assert cell["metadata"] == {}


def test_nothing_is_asked_after_the_end(page: Page, server: Jupyter, answers: Answers) -> None:
    opened = Opened(page, server, answers, WAITING)
    warned: list[str] = []
    page.on("console", lambda message: warned.append(message.text))
    opened.run_until_let_go()
    opened.await_asked("GET progress", 1)
    answers.status, answers.session = 410, {"state": "TERMINATED", "reason": "Idle."}
    opened.look_again()
    expect(opened.said("ended")).to_be_visible()
    asked = len(answers.asked)
    opened.look_again()
    page.wait_for_timeout(1500)  # a round and a half of what is asked for a living session
    assert len(answers.asked) == asked
    # Jupyter was told to leave saving.
    assert [text for text in warned if "sparkowl" in text] == []
    opened.let_go()


def test_an_expired_link_is_said_until_there_is_another(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    answers.status = 403
    opened = Opened(page, server, answers)
    expect(page.get_by_role("alert")).to_contain_text("The link has expired: ask for a new one")
    answers.status = 200
    opened.look_again()
    expect(opened.said("expired")).to_have_count(0)


def test_a_kernel_that_jupyter_gave_up_is_connected_again_while_the_session_lives(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    page.add_init_script(
        "window.WebSocket = class extends WebSocket { constructor(...given) { super(...given);"
        " if (this.url.includes('/channels')) window.toKernel = this; } }"
    )
    answers.status = 403
    opened = Opened(page, server, answers, "6 * 7")
    expect(opened.said("expired")).to_be_visible()
    # To Jupyter's page the same as the door's "going away": there is no more to come.
    page.evaluate("toKernel.close(1000)")
    icon = page.locator(".jp-Notebook-ExecutionIndicator")
    expect(icon).to_have_attribute("data-status", "disconnected")

    answers.status = 200
    opened.look_again()

    opened.run(1)
    expect(opened.cell(1).locator(".jp-OutputArea-output")).to_have_text("42")


@pytest.mark.parametrize("status", [None, 502])
def test_a_server_that_stays_away_is_missed_until_it_is_back(
    page: Page, server: Jupyter, answers: Answers, status: int | None
) -> None:
    opened = Opened(page, server, answers)
    ended = "requestfinished" if status else "requestfailed"
    answers.status = status
    for _ in range(3):
        assert page.locator(".sparkowl-strip").count() == 0, "one failure is no news"
        with page.expect_event(ended, lambda request: "_sparkowl" in request.url):
            opened.look_again()
    expect(page.get_by_role("alert")).to_have_text("The server is away, trying again.")
    answers.status = 200
    expect(opened.said("away")).to_have_count(0)


def test_a_cell_shows_sparks_progress_while_it_runs_and_saves_none(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers, WAITING)
    opened.run_until_let_go()
    names = ("count at <i>cell</i>:1", "collect", "save", "four", "five")
    stages = [{"id": n, "name": name, "done": n, "tasks": 20} for n, name in enumerate(names)]
    answers.run(percent=20.7, stages=stages)

    bar = opened.cell(1).get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "20")
    shown = opened.cell(1).locator(".sparkowl-progress")
    expect(shown).to_contain_text("20 %")
    expect(shown).to_contain_text("count at <i>cell</i>:1: 0/20")
    expect(shown).to_contain_text("and 2 more")
    assert page.locator(".sparkowl-progress").count() == 1
    answers.run(percent=60)
    expect(bar).to_have_attribute("aria-valuenow", "60")
    with page.expect_response(_is_save):
        opened.save()
    during = opened.file.read_text()

    opened.let_go()
    expect(page.locator(".sparkowl-progress")).to_have_count(0)
    with page.expect_response(_is_save):
        opened.save()
    after = opened.file.read_text()
    (output,) = json.loads(after)["cells"][1]["outputs"]
    assert output["data"] == {"text/plain": ["'let go'"]}
    for saved in (during, after):
        assert "sparkowl-" not in saved
        assert "collect" not in saved


def _is_save(response: Response) -> bool:
    return response.request.method == "PUT" and "/api/contents/" in response.url


def test_calculations_that_end_within_a_second_show_no_bar(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    page.add_init_script(
        "new MutationObserver(() => { window.sawBar ||= "
        "document.querySelector('.sparkowl-progress') !== null; })"
        ".observe(document, { childList: true, subtree: true })"
    )
    opened = Opened(page, server, answers, WAITING)
    opened.run_until_let_go()
    for number in ("c-1", "c-2"):
        answers.run(calculation_id=number)
        opened.await_asked("GET progress", 1)
    answers.running = None
    opened.await_asked("GET progress", 2)
    assert not page.evaluate("window.sawBar")

    answers.run(calculation_id="c-3")
    expect(page.locator(".sparkowl-progress")).to_be_visible()
    assert page.evaluate("window.sawBar")
    opened.let_go()


def test_a_calculation_of_the_api_is_shown_as_what_cells_wait_for(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers, WAITING)
    opened.run_until_let_go()
    answers.run(msg_id=None, percent=40)
    expect(page.get_by_role("status").filter(has_text="sent by API")).to_have_text(
        "A calculation sent by API runs; cells wait.40 %"
    )
    assert page.locator(".sparkowl-progress").count() == 0
    opened.let_go()
    expect(opened.said("running")).to_have_count(0)


def test_a_cell_that_ran_before_a_reload_is_still_told_of(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers, WAITING)
    opened.run_until_let_go()
    answers.run()
    page.reload()
    expect(opened.said("running")).to_contain_text("started before this page was loaded")
    opened.gate.touch()
    expect(opened.said("running")).to_have_count(0)


def test_a_restart_is_said_and_can_be_put_away(
    page: Page, server: Jupyter, answers: Answers
) -> None:
    opened = Opened(page, server, answers)
    page.get_by_role("menuitem", name="Kernel").click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(opened.said("restarted")).to_contain_text(
        "The session's kernel and its Spark context were restarted; variables are gone."
    )
    opened.said("restarted").get_by_role("button", name="Close").click()
    expect(opened.said("restarted")).to_have_count(0)


def test_a_jupyter_that_knows_no_sessions_works_as_ever(page: Page, server: Jupyter) -> None:
    unasked = Answers()
    page.on("websocket", unasked.listen)
    opened = Opened(page, server, unasked, "6 * 7")
    opened.run(1)
    expect(opened.cell(1).locator(".jp-OutputArea-output")).to_have_text("42")
    assert page.locator(".sparkowl-strip").count() == 0

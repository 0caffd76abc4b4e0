"""Notebooks as a user has them: StartSession, a link, a browser; real Spark behind it.

One server and one browser; most tests share a session, and each opens its notebook anew.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from tests.browser.plain import ipynb
from tests.e2e.conftest import GONE, Server, User, folder_of, running, wait_for
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

VERSION: Final = "Athena notebook version 1"
DESCRIPTION: Final = "Calculation started via Jupyter notebook"
NAME: Final = "walk"
#: Eight tasks of a second: long enough to be seen on any number of cores that tests run with.
SPARK: Final = """import time
sum(sc.parallelize(range(8), 8).map(lambda n: (time.sleep(1), n)[1]).collect())"""
#: Runs until the file is there.
GATED: Final = """import pathlib, time
while not pathlib.Path("go").exists():
    time.sleep(0.05)
order = ["api"]"""
FIGURE: Final = """from matplotlib import pyplot
pyplot.plot([1, 4, 9])
pyplot.show()"""
#: How long a link may take to be opened, in seconds; short, for one test waits until it is over.
LINK_S: Final = 20
#: An idle session of a minute warns after ten seconds.
WARN_S: Final = 50
#: Expectations wait this long, in milliseconds: a restarted JVM on a busy machine.
_PATIENT_MS: Final = 90_000


@pytest.fixture(scope="module", autouse=True)
def patience(browser: Browser) -> None:
    """More than the browser's own, which the next module's browser sets again."""
    assert browser.is_connected()
    expect.set_options(timeout=_PATIENT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("server"),
        POOL__SIZE="1",
        NOTEBOOKS__LINK_S=str(LINK_S),
        NOTEBOOKS__WARN_S=str(WARN_S),
    ) as started:
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    return User(server.client("athena"), server.client("s3"))


@pytest.fixture(scope="module")
def session(user: User) -> str:
    """A session on the notebook ``walk``, which came from a file in a bucket."""
    user.s3.create_bucket(Bucket="papers")
    file = ipynb("1 + 1", kernel="python3")
    user.s3.put_object(Bucket="papers", Key=f"in/{NAME}.ipynb", Body=file.encode())
    more = {"AdditionalConfigs": {"NotebookFileURI": f"s3://papers/in/{NAME}.ipynb"}}
    return user.session(NotebookVersion=VERSION, EngineConfiguration=more)


def link(user: User, session: str) -> str:
    return str(user.athena.create_presigned_notebook_url(SessionId=session)["NotebookUrl"])


def base(url: str, session: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/notebooks/{session}/"


def cookies(visitor: BrowserContext) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{c['name']}={c['value']}" for c in visitor.cookies())}


def _get(url: str, **more: Any) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30, **more)


class Paper:
    """A notebook in the browser, as its reader uses it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        self.await_ready()

    def await_ready(self) -> None:
        idle = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
        expect(self.page.locator(idle)).to_be_visible()
        # The page is up before all of it is there, and loses what is typed too early.
        self.page.wait_for_load_state("networkidle")

    def send(self, code: str) -> Locator:
        """Run code in a new cell; the cell."""
        cells = self.page.locator(".jp-Notebook .jp-Cell")
        before = cells.count()
        self.page.locator(".jp-Notebook .jp-CodeCell .cm-content").last.click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("b")
        expect(cells).to_have_count(before + 1)
        self.page.keyboard.press("Enter")
        # As if pasted: the editor closes no bracket and indents nothing.
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Control+Enter")
        return cells.last

    def run(self, code: str) -> str:
        """Run code in a new cell until it is done; the text it gave."""
        cell = self.send(code)
        self.await_done(cell)
        return "".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def await_done(self, cell: Locator) -> None:
        expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))

    def save(self) -> None:
        self.page.keyboard.press("Control+S")

    def said(self, name: str) -> Locator:
        return self.page.locator(f'[data-strip="{name}"]')

    def choose(self, menu: str, entry: str) -> None:
        self.page.get_by_role("menuitem", name=menu).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()


@pytest.fixture
def paper(page: Page, user: User, session: str) -> Paper:
    return Paper(page, link(user, session))


def notebook_id(user: User, name: str) -> str:
    found = user.athena.list_notebook_metadata(WorkGroup="spark", Filters={"Name": name})
    (one,) = found["NotebookMetadataList"]
    return str(one["NotebookId"])


def exported(user: User, good: Callable[[str], bool]) -> Any:
    """The notebook as the API has it, once it is good."""
    which = notebook_id(user, NAME)
    payload = wait_for(lambda: user.athena.export_notebook(NotebookId=which)["Payload"], good)
    return json.loads(payload)


def calculation(user: User, session: str, code: str) -> Any:
    """The calculation of this code; there must be one, and one only."""
    found = user.athena.list_calculation_executions(SessionId=session)["Calculations"]
    ids = [one["CalculationExecutionId"] for one in found if one.get("Description") == DESCRIPTION]
    (one,) = (
        one
        for one in ids
        if user.athena.get_calculation_execution_code(CalculationExecutionId=one)["CodeBlock"]
        == code
    )
    return user.athena.get_calculation_execution(CalculationExecutionId=one)


def test_cells_show_spark_and_figures_and_are_saved_and_exported(paper: Paper, user: User) -> None:
    spark = paper.send(SPARK)
    bar = spark.get_by_role("progressbar")
    expect(bar).to_be_visible()
    expect(spark.locator(".sparkowl-progress-stages")).to_contain_text("/8")
    paper.await_done(spark)
    expect(spark.locator(".jp-OutputArea-output")).to_have_text("28")
    expect(bar).to_have_count(0)
    figure = paper.send(FIGURE)
    image = figure.locator(".jp-OutputArea-output img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 100

    edit = f"'edited at {time.time_ns()}'"
    assert paper.run(edit) == edit
    paper.save()
    notebook = exported(user, lambda payload: edit in payload)

    kept = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in kept)
    assert "".join(notebook["cells"][0]["source"]) == "1 + 1", "what the file in the bucket had"
    assert "sparkowl-progress" not in json.dumps(notebook)
    paper.page.reload()
    paper.await_ready()
    expect(paper.page.locator(".jp-OutputArea-output").get_by_text(edit)).to_be_visible()
    expect(paper.page.locator(".jp-OutputArea-output img").last).to_be_visible()


def test_variables_are_shared_with_calculations(paper: Paper, user: User, session: str) -> None:
    assert paper.run("from_page = 41; spark.version[:1]") == "'4'"
    _, stdout, stderr = user.run(session, "print(from_page + 1)\nfrom_api = 'hello'")
    assert (stdout, stderr) == ("42\n", "")
    assert paper.run("from_api") == "'hello'"


def test_a_cell_is_a_calculation_with_its_output(paper: Paper, user: User, session: str) -> None:
    code = f"print('said at {time.time_ns()}')"
    said = paper.run(code)

    found = wait_for(
        lambda: calculation(user, session, code),
        lambda one: one["Status"]["State"] == "COMPLETED",
    )

    assert found["SessionId"] == session
    assert found["Description"] == DESCRIPTION
    assert user.read(found["Result"]["StdOutS3Uri"]) == f"{said}\n"
    assert found["Statistics"]["Progress"] == "100%"


def test_a_cell_that_runs_makes_the_session_busy_until_the_page_interrupts(
    paper: Paper, user: User, session: str
) -> None:
    code = f"import time; time.sleep(600)  # {time.time_ns()}"
    cell = paper.send(code)
    user.await_session(session, {"BUSY"})
    with pytest.raises(ClientError) as refused:
        user.submit(session, "1")
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"
    wait_for(
        lambda: calculation(user, session, code), lambda one: one["Status"]["State"] == "RUNNING"
    )

    paper.choose("Kernel", "Interrupt Kernel")

    expect(cell.locator(".jp-OutputArea-output").last).to_contain_text("KeyboardInterrupt")
    user.await_session(session, {"IDLE"})
    assert calculation(user, session, code)["Status"]["State"] == "CANCELED"
    assert paper.run("'still here'") == "'still here'"


def test_a_cell_waits_for_a_calculation_of_the_api(
    paper: Paper, server: Server, user: User, session: str
) -> None:
    running_one = user.submit(session, GATED)
    user.await_state(running_one, {"RUNNING"})
    cell = paper.send("order.append('cell'); order")
    expect(paper.said("running")).to_contain_text("A calculation sent by API runs; cells wait.")
    (folder_of(server.data_dir, session, user) / "work" / "go").touch()
    expect(cell.locator(".jp-OutputArea-output")).to_have_text("['api', 'cell']")
    expect(paper.said("running")).to_have_count(0)


def test_a_restart_is_of_the_kernel_and_of_spark(paper: Paper, user: User, session: str) -> None:
    before = paper.run("gone = 1; spark.sparkContext.applicationId")
    paper.choose("Kernel", "Restart Kernel…")
    paper.page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(paper.said("restarted")).to_be_visible()

    after = paper.run("(spark.range(5).count(), 'gone' in globals())")
    assert after == "(5, False)"
    assert paper.run("spark.sparkContext.applicationId") != before
    assert user.await_session(session, {"IDLE"})["State"] == "IDLE"
    assert user.run(session, "print(spark.range(6).count())")[1] == "6\n"


def test_an_idle_session_is_warned_of_kept_and_its_end_is_said(page: Page, user: User) -> None:
    idle = user.session(
        NotebookVersion=VERSION, EngineConfiguration={}, SessionIdleTimeoutInMinutes=1
    )
    paper = Paper(page, link(user, idle))
    paper.run("1")
    warning = paper.said("idle")
    expect(warning).to_contain_text(re.compile(r"Time left: 0:[0-5]\d"))

    page.get_by_role("button", name="Keep the session").click()

    # Its minute begins anew: for ten seconds there is nothing to warn of.
    expect(warning).to_have_count(0)
    assert user.athena.get_session_status(SessionId=idle)["Status"]["State"] == "IDLE"
    expect(warning).to_be_visible()

    user.end(idle)
    expect(paper.said("ended")).to_contain_text("The session has ended.")
    expect(paper.said("ended")).to_contain_text("start another session")
    page.reload()
    expect(page.get_by_role("heading")).to_contain_text("The session has ended")


def test_a_cookie_opens_its_own_session_only(
    paper: Paper, visitor: BrowserContext, user: User, session: str
) -> None:
    other = user.session(NotebookVersion=VERSION, EngineConfiguration={})
    theirs, mine = (link(user, one).partition("?")[0] for one in (other, session))
    answer = paper.page.goto(theirs)
    assert answer is not None
    assert answer.status == 403
    assert _get(theirs, headers=cookies(visitor)).status_code == 403
    assert _get(mine, headers=cookies(visitor)).status_code == 200
    # Nor does the token of one link open another session.
    token = link(user, session).partition("?")[2]
    assert _get(f"{theirs}?{token}").status_code == 403
    user.end(other)


def test_a_websocket_without_the_cookie_is_refused(
    paper: Paper, visitor: BrowserContext, session: str
) -> None:
    address = base(paper.page.url, session)
    kernels = _get(f"{address}api/kernels", headers=cookies(visitor)).json()
    url = f"ws{address.removeprefix('http')}api/kernels/{kernels[0]['id']}/channels"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, proxy=None)
    assert refused.value.response.status_code == 403
    with (
        pytest.raises(InvalidStatus),
        connect(
            url,
            proxy=None,
            additional_headers=cookies(visitor),
            origin=Origin("http://elsewhere.example"),
        ),
    ):
        pass
    with connect(url, proxy=None, additional_headers=cookies(visitor)) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101


def test_a_link_opens_nothing_after_its_time(user: User, session: str) -> None:
    made = user.athena.create_presigned_notebook_url(SessionId=session)
    over_at = made["AuthTokenExpirationTime"] / 1000
    assert 0 < over_at - time.time() <= LINK_S
    assert _get(made["NotebookUrl"]).status_code == 303
    # The one wait for real time: the server is another process, with the machine's clock.
    time.sleep(max(over_at - time.time(), 0) + 1.5)
    refused = _get(made["NotebookUrl"])
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


def test_a_session_without_a_notebook_has_no_link(user: User) -> None:
    session = user.start_session()
    with pytest.raises(ClientError) as refused:
        link(user, session)
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"
    user.await_session(session, {"IDLE"} | GONE)
    user.end(session)

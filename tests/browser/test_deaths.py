"""The session's Jupyter server and the SparkOwl server, killed under a page that stays open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect
from tests.browser.test_notebooks import Paper, calculation, link
from tests.e2e.conftest import (
    ENDED,
    JUPYTER,
    Server,
    User,
    folder_of,
    pid_of,
    processes_of,
    running,
    wait_for,
)

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

VERSION: Final = "Athena notebook version 1"
#: Prints as it goes, and goes on until the file is there.
COUNTING: Final = """import pathlib, time
n = 0
while not pathlib.Path("go").exists():
    print(n, flush=True)
    n += 1
    time.sleep(0.2)
print("the end")"""
#: The page may try again after half a minute only.
_PATIENT_MS: Final = 90_000


@pytest.fixture(scope="module", autouse=True)
def patience(browser: Browser) -> None:
    assert browser.is_connected()
    expect.set_options(timeout=_PATIENT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), POOL__SIZE="0") as started:
        # The page finds it again only where it was.
        started.port = int(started.url.rpartition(":")[2])
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    return User(server.client("athena"), server.client("s3"))


@pytest.fixture(scope="module")
def session(user: User) -> str:
    return user.session(NotebookVersion=VERSION)


@pytest.fixture
def paper(page: Page, user: User, session: str) -> Paper:
    return Paper(page, link(user, session))


def test_the_jupyter_server_dies_and_the_page_goes_on_by_itself(
    paper: Paper, server: Server, user: User, session: str
) -> None:
    """Also a cell that runs meanwhile: what it prints at last, and that it is done."""
    code, go = counting(server, user, session)
    cell = paper.send(code)
    expect(outputs(cell)).to_contain_text("2")
    before = pid_of(server.data_dir, session, user, "jupyter")

    os.kill(before, signal.SIGKILL)

    # Until the page hears of the kernel again. What the dead one had sent may be shown late.
    folder = folder_of(server.data_dir, session, user)
    wait_for(lambda: jupyters_in(folder), lambda found: found - {before})
    heard = outputs(cell).last.inner_text()
    expect(outputs(cell)).not_to_have_text(heard)
    go.touch()
    paper.await_done(cell)
    expect(outputs(cell)).to_contain_text("the end")
    assert paper.run("n > 2") == "True"
    assert pid_of(server.data_dir, session, user, "jupyter") != before
    with paper.page.expect_response(is_save) as saved:
        paper.save()
    assert saved.value.ok
    complete(user, session, code)


def test_the_server_dies_while_a_cell_runs_and_the_page_misses_nothing(
    paper: Paper, server: Server, user: User, session: str
) -> None:
    code, go = counting(server, user, session)
    cell = paper.send(code)
    expect(outputs(cell)).to_contain_text("2")

    server.kill()
    expect(paper.said("away")).to_be_visible()
    server.start()

    expect(paper.said("away")).to_have_count(0)
    go.touch()
    paper.await_done(cell)
    assert outputs(cell).all_inner_texts() == [complete(user, session, code)]
    assert paper.run("6 * 7") == "42"


def jupyters_in(folder: Path) -> set[int]:
    """The Jupyter servers of a driver."""
    return {pid for pid, command in processes_of(folder).items() if JUPYTER in command}


def counting(server: Server, user: User, session: str) -> tuple[str, Path]:
    """Code that counts until a file is there, and that file."""
    name = f"go-{time.time_ns()}"
    work = folder_of(server.data_dir, session, user) / "work"
    return COUNTING.replace('"go"', f'"{name}"'), work / name


def outputs(cell: Locator) -> Locator:
    return cell.locator(".jp-OutputArea-output")


def is_save(response: Response) -> bool:
    return response.request.method == "PUT" and "/api/contents/" in response.url


def complete(user: User, session: str, code: str) -> str:
    """All that the calculation of this code printed, which has ended well."""
    found = wait_for(
        lambda: calculation(user, session, code),
        lambda one: one["Status"]["State"] in ENDED,
    )
    assert found["Status"]["State"] == "COMPLETED"
    stdout = user.read(found["Result"]["StdOutS3Uri"])
    numbers = stdout.splitlines()[:-1]
    assert numbers == [str(n) for n in range(len(numbers))]
    assert stdout.endswith("\nthe end\n")
    return stdout

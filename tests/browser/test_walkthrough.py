"""The walk-through of ``docs/users/notebooks.md``, word for word: commands, link and keys."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.conftest import Server, running

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/users/notebooks.md"
#: A first session on a busy machine, in milliseconds.
_PATIENT_MS: Final = 90_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def patience(browser: Browser) -> None:
    assert browser.is_connected()
    expect.set_options(timeout=_PATIENT_MS)


def blocks() -> list[str]:
    """What the section has its reader type, terminal by terminal."""
    text = PAGE.read_text()
    section = text.partition("## From nothing to a page\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


class Terminal:
    """The reader's second one, in the clone: what ``eval`` has set stays."""

    def __init__(self, data_dir: Path, opening: str) -> None:
        # All that is not as for the reader: the server has a folder of its own.
        self._environment = os.environ | {"SPARKOWL_DATA_DIR": str(data_dir)}
        self._opening = opening

    def type(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", f"{self._opening}\n{command}"],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, command: str) -> Any:
        return json.loads(self.type(command))


def test_from_nothing_to_a_page(server: Server, page: Page, patience: None) -> None:
    serve, start, calculations, notebooks, ending = blocks()
    assert serve == "make serve\n"
    opening, example = start.splitlines()
    terminal = Terminal(server.data_dir, opening)

    said = re.fullmatch(r"session (\S+)\nopen within ten minutes: (\S+)\n", terminal.type(example))
    assert said is not None
    session, link = said.groups()
    page.goto(link)
    page.wait_for_load_state("networkidle")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    expect(cells).to_have_count(3)
    cells.first.locator(".cm-content").click()
    for _ in range(3):
        page.keyboard.press("Shift+Enter")

    outputs = [cells.nth(n).locator(".jp-OutputArea-output") for n in range(3)]
    expect(outputs[0].last).to_have_text("1000000")
    expect(outputs[1].locator("table")).to_contain_text("mean_minutes")
    expect(outputs[2].locator("img")).to_be_visible()
    with page.expect_response(
        lambda one: one.request.method == "PUT" and "/api/contents/" in one.url
    ) as saved:
        page.keyboard.press("Control+S")
    assert saved.value.ok

    listed = terminal.ask(calculations.replace("<id>", session))["Calculations"]
    assert {one["Description"] for one in listed} == {"Calculation started via Jupyter notebook"}
    assert [one["Status"]["State"] for one in listed] == ["COMPLETED"] * 3
    listing, exporting = notebooks.splitlines()
    (kept,) = terminal.ask(listing)["NotebookMetadataList"]
    assert kept["Name"] == "delays"
    exported = terminal.ask(exporting.replace("<id>", kept["NotebookId"]))
    chart = next(cell for cell in exported["cells"] if cell["id"] == "plot")
    assert "image/png" in chart["outputs"][-1]["data"]
    assert terminal.ask(ending.replace("<id>", session))["State"] == "TERMINATING"

"""A real browser, and a plain Jupyter for it to open.

The browser is the machine's Chromium (Debian: ``apt-get install chromium``). Where there is none,
tests that need it are skipped; in CI (the environment variable ``CI``) they fail. Playwright runs
an event loop in the test's thread while a browser is open: a module that has one has no coroutines
as tests, and the browser is closed with the module.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
#: Nothing but loopback has a name, and nothing calls home.
_ARGUMENTS: Final = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--disable-background-networking",
    "--disable-component-update",
)
#: How long an expectation waits on a busy machine, in milliseconds.
_PATIENT_MS: Final = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        why = "Chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    # Chromium's own sandbox refuses to run as root.
    sandbox = os.geteuid() != 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(_ARGUMENTS), chromium_sandbox=sandbox
        )
        expect.set_options(timeout=_PATIENT_MS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies. It asked nobody but loopback, and no script of ours failed."""
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    context.set_default_timeout(_PATIENT_MS)
    asked: list[str] = []
    broken: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    context.on("request", note)
    context.on("weberror", lambda error: broken.append(error.error.stack or str(error.error)))
    yield context
    context.close()
    hosts = {urlsplit(url).hostname for url in asked if url.startswith("http")}
    assert hosts <= {"127.0.0.1", "localhost"}
    # Jupyter's own scripts trip over what is switched off; the page is up all the same.
    assert [trace for trace in broken if "labextensions/sparkowl" in trace] == []


@pytest.fixture
def page(visitor: BrowserContext) -> Page:
    return visitor.new_page()

"""How long it takes until somebody works on a notebook: from StartSession, or from ``jupyter lab``,
to a page in a browser whose kernel has answered with Spark."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright

from benchmarks.servers import sparkowl

#: Names under which Chromium is installed.
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
COUNT: Final = "spark.range(1_000_000).selectExpr('sum(id)').first()[0]"
ANSWER: Final = "499999500000"
#: What somebody's first cell says where no session has made Spark.
PLAIN: Final = (
    "from pyspark.sql import SparkSession\n"
    f"spark = SparkSession.builder.master('local[*]').getOrCreate()\n{COUNT}"
)
_PAGE_MS: Final = 120_000
#: How long a warm driver has waited when a session takes it: its Jupyter process is ready then.
SETTLE_S: Final = 5


@dataclass(slots=True)
class Found:
    """Seconds, ours and theirs, round by round."""

    #: To the page whose kernel has answered ``1 + 1``...
    page: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    #: ...and to the first answer of Spark.
    spark: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def run(rounds: int) -> Found | None:
    """A browser is there already, with nothing in its cache. None: there is no browser."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        return None
    found = Found()
    with sync_playwright() as driver, sparkowl() as server:
        browser = driver.chromium.launch(executable_path=program, args=_flags())
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bench")
        s3.put_object(Bucket="bench", Key="bench.ipynb", Body=_notebook(COUNT))
        for number in range(rounds):
            server.await_warm()
            # The driver's Jupyter process gets ready after it. Nothing tells.
            time.sleep(SETTLE_S)
            ours, theirs = _ours(browser, server.client()), _theirs(browser)
            for pair, a, b in zip((found.page, found.spark), ours, theirs, strict=True):
                pair[0].append(a)
                pair[1].append(b)
            print(f"notebook {number + 1}/{rounds}: {ours} against {theirs}", flush=True)
        browser.close()
    return found


def _flags() -> list[str]:
    # Chromium refuses its own sandbox where it runs as root.
    return ["--no-sandbox"] if os.geteuid() == 0 else []


def _notebook(code: str) -> bytes:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(("1 + 1", code))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    ).encode()


def _ours(browser: Browser, athena: Any) -> tuple[float, float]:
    began = time.perf_counter()
    session = athena.start_session(
        WorkGroup="spark",
        EngineConfiguration={"AdditionalConfigs": {"NotebookFileURI": "s3://bench/bench.ipynb"}},
        NotebookVersion="Athena notebook version 1",
    )["SessionId"]
    link = athena.create_presigned_notebook_url(SessionId=session)["NotebookUrl"]
    try:
        return _work(browser, link, began)
    finally:
        athena.terminate_session(SessionId=session)


def _theirs(browser: Browser) -> tuple[float, float]:
    began = time.perf_counter()
    with _jupyter_lab() as link:
        return _work(browser, link, began)


@contextmanager
def _jupyter_lab() -> Iterator[str]:
    """``jupyter lab`` on a folder with the notebook; gives the page's address once it listens."""
    token = secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="sparkowl-bench-lab-") as folder:
        (Path(folder) / "bench.ipynb").write_bytes(_notebook(PLAIN))
        lab = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *(f"--port={port}", f"--notebook-dir={folder}"),
                f"--IdentityProvider.token={token}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _until_it_listens(port)
            yield f"http://127.0.0.1:{port}/lab/tree/bench.ipynb?token={token}"
        finally:
            os.killpg(lab.pid, signal.SIGKILL)
            lab.wait()


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError("jupyter lab does not listen")


def _work(browser: Browser, link: str, began: float) -> tuple[float, float]:
    """Open the page and run both cells; when each had its answer, seconds since ``began``."""
    context = browser.new_context()
    context.set_default_timeout(_PAGE_MS)
    page = context.new_page()
    try:
        page.goto(link, wait_until="commit")
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output", has_text="2").first.wait_for()
        answered = time.perf_counter() - began
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output", has_text=ANSWER).first.wait_for()
        return round(answered, 2), round(time.perf_counter() - began, 2)
    finally:
        context.close()

"""Notebook 7 as anybody runs it, with our page extension; the server's answers are made up."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from playwright.sync_api import Page, Route, WebSocket

from sparkowl import agent

BASE: Final = "/notebooks/s-1/"
_EXTENSIONS: Final = Path(agent.__file__).with_name("page")
_PATIENT_S: Final = 60.0
#: In a frame of Jupyter's WebSocket, text or binary.
_SENT: Final = re.compile(rb'"msg_id": ?"([^"]+)"')
IDLE: Final = {"state": "IDLE", "reason": "", "stops_in_s": 1200.0, "warn_s": 120, "name": "x"}


def ipynb(*cells: str, kernel: str) -> str:
    """A notebook of these code cells, as a file has it."""
    code: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
    }
    notebook: dict[str, Any] = {
        "cells": [code | {"id": f"cell-{n}", "source": source} for n, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook)


@dataclass
class Jupyter:
    """A Jupyter server that serves a folder."""

    url: str
    folder: Path

    def write(self, name: str, *cells: str) -> str:
        """Keep a notebook of these cells; where a browser finds it."""
        self.file(name).write_text(ipynb(*cells, kernel="python3"))
        return f"{self.url}notebooks/{name}.ipynb"

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.ipynb"


@contextmanager
def jupyter(folder: Path) -> Iterator[Jupyter]:
    """A Jupyter server, until the end; what it writes stays in the folder."""
    served = folder / "served"
    served.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    own = {
        name: str(folder / name)
        for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    }
    command = (
        sys.executable, "-m", "notebook", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.base_url={BASE}", "--IdentityProvider.token=",
        f"--ServerApp.root_dir={served}", "--ServerApp.terminals_enabled=False",
        f"--LabServerApp.extra_labextensions_path={_EXTENSIONS}",
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | own, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _await_port(process, port, folder / "log")
        yield Jupyter(f"http://127.0.0.1:{port}{BASE}", served)
    finally:
        process.terminate()
        process.wait(_PATIENT_S)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = monotonic() + _PATIENT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert monotonic() < deadline, log.read_text()
            sleep(0.05)
        else:
            return


@dataclass
class Answers:
    """What the server says of the session; a test changes it as it goes."""

    session: dict[str, Any] = field(default_factory=lambda: dict(IDLE))
    #: None: no answer at all.
    status: int | None = 200
    running: dict[str, Any] | None = None
    #: What was asked, as ``GET session``.
    asked: list[str] = field(default_factory=list)
    #: The ids of the messages with which the page ran cells.
    executed: list[str] = field(default_factory=list)

    def give(self, page: Page) -> None:
        """Answer this page from now on."""
        page.route(re.compile(r"/_sparkowl/\w+$"), self._session)
        page.route(re.compile(r"/sparkowl/progress$"), self._progress)
        page.on("websocket", self.listen)

    def run(self, **members: Any) -> None:
        """A calculation runs from now on: of the last cell, unless said otherwise."""
        stages = [{"id": 3, "name": "count at cell:1", "done": 4, "tasks": 20}]
        cell = {"calculation_id": "c-1", "percent": 20, "stages": stages}
        self.running = cell | {"msg_id": self.executed[-1] if self.executed else None} | members

    def _session(self, route: Route) -> None:
        what = route.request.url.rpartition("/")[2]
        self.asked.append(f"{route.request.method} {what}")
        if self.status is None:
            route.abort()
            return
        if what == "extend":
            self.session |= {"stops_in_s": 1200.0}
        route.fulfill(status=self.status, json=self.session)

    def _progress(self, route: Route) -> None:
        self.asked.append("GET progress")
        route.fulfill(json={"running": self.running})

    def listen(self, channel: WebSocket) -> None:
        """Note what the page runs by this channel."""
        channel.on("framesent", self._sent)

    def _sent(self, frame: str | bytes) -> None:
        sent = frame.encode() if isinstance(frame, str) else frame
        if b'"execute_request"' in sent and (found := _SENT.search(sent)):
            self.executed.append(found[1].decode())

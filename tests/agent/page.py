"""Sessions with a notebook, whose Jupyter process is a stand-in that does as it is told."""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.agent.conftest import eventually

from sparkowl.agent.messages import Adopt, Adopted, Cell

if TYPE_CHECKING:
    from tests.agent.conftest import Calculation, Driver, Start

_FILE = Path(__file__).with_name("standin.py")
#: Of its command line; its name alone is also in the agent's.
STANDIN = f"{_FILE.name} "
TOKEN = "the token of Jupyter"
BASE = "/notebooks/s-1/"

#: What the agent is started by: its own way in, with another program as the Jupyter process.
AGENT = f"""
import sys
from sparkowl.agent.__main__ import main
from sparkowl.agent.notebooks import Program
program = Program(command=({sys.executable!r}, {str(_FILE)!r}))
sys.exit(main(program))
"""


def adopt(driver: Driver, **changes: object) -> None:
    send_adopt(driver, **changes)
    driver.server.first(Adopted)


def send_adopt(driver: Driver, **changes: object) -> None:
    values = {
        "session_id": "s-1",
        "work_group": "spark",
        "engine_version": "Apache Spark version 4.1",
        "started_at": "2026-01-02T03:04:05Z",
        "properties": {},
        "buckets": {},
        "jupyter_base": BASE,
        "notebook": "n.ipynb",
    }
    driver.server.send(Adopt(**(values | changes)))  # type: ignore[arg-type]


class Page:
    """The page of a session, as its user's hands."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._socket = driver.run_dir / "jupyter" / "s"
        self._hands = ThreadPoolExecutor(20)
        self._served = 0

    def do(self, order: str, **values: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(str(self._socket))
            line.sendall(json.dumps({"do": order, **values}).encode() + b"\n")
            with line.makefile() as answers:
                answer = answers.readline()
        return json.loads(answer) if answer else None

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.do("ask", what=what, **values)
        return answer

    def asking(self, what: str) -> Future[dict[str, Any]]:
        return self._hands.submit(self.ask, what)

    def here(self) -> bool:
        """Whether it serves."""
        try:
            return bool(self.do("told"))
        except (OSError, ValueError):
            return False

    def run(
        self, code: str, client: str = "tab", *, stop_on_error: bool = True, sends: bool = True,
        **content: Any,
    ) -> Future[dict[str, Any]]:  # fmt: skip
        """Run a cell; what the desk answered, with the kernel's reply when it ran."""
        return self._hands.submit(
            self.do, "cell", code=code, client=client, stop_on_error=stop_on_error, sends=sends,
            **content,
        )  # fmt: skip

    def cell(self, code: str) -> str:
        """The calculation that a cell became, as the server hears of it."""
        return self.driver.server.first(Cell, code=code).calculation_id

    def let(self, code: str) -> str:
        """Do what the server does: send it back as a block to run."""
        return self.driver.start(code, calculation_id=self.cell(code))

    def whole(self, code: str, **values: Any) -> tuple[dict[str, Any], Calculation]:
        """A cell from its click to its end."""
        answer = self.run(code, **values)
        done = self.driver.end(self.let(code))
        return answer.result(60), done

    def close(self) -> None:
        self._hands.shutdown(wait=False, cancel_futures=True)


def open_page(start: Start, **changes: Any) -> Page:
    """A driver of a session with a notebook, and its page."""
    driver = start(command=["-c", AGENT], **({"jupyter": True, "jupyter_token": TOKEN} | changes))
    driver.ready()
    adopt(driver)
    page = Page(driver)
    eventually(page.here)
    return page

"""``python -m faults.server <arguments of sparkowl>``: the product's command, with a gate.

The gate is a log handler. When the record that the suite named in the file ``arm`` passes, it
writes ``reached`` and holds that thread until there is a file ``go``: the server stands exactly
there while the suite breaks something, or kills it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from pathlib import Path
from typing import Any, SupportsIndex

from sparkowl.app import process
from sparkowl.cli.main import main

#: A suite that died must not leave a server that stands for ever.
LONGEST_S = 60.0


def _sleep(seconds: SupportsIndex | float) -> None:
    select.select([], [], [], float(seconds))


class Gate(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def createLock(self) -> None:
        """None: while one thread stands, the others still log."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            asked = json.loads((self._folder / "arm").read_text())
            if not _is_it(record, asked):
                return
            (self._folder / "arm").unlink()
        except FileNotFoundError:
            return
        fields = {name: getattr(record, name, None) for name in ("session", "driver")}
        aside = self._folder / "reached.new"
        aside.write_text(json.dumps(fields))
        aside.replace(self._folder / "reached")
        deadline = time.monotonic() + LONGEST_S
        while not (self._folder / "go").exists() and time.monotonic() < deadline:
            _sleep(0.002)


def _is_it(record: logging.LogRecord, asked: dict[str, Any]) -> bool:
    if record.getMessage() != asked["message"]:
        return False
    if any(getattr(record, name, None) != value for name, value in asked["fields"].items()):
        return False
    session = getattr(record, "session", None)
    return not asked["new_session"] or session not in {None, *asked["known"]}


if __name__ == "__main__":
    # Under libfaketime 0.9.10, clock_nanosleep refuses every time that is given as an absolute one,
    # and Python sleeps by no other. Everything else that waits is right under it.
    time.sleep = _sleep
    product = logging.getLogger("sparkowl")
    product.setLevel(logging.DEBUG)
    product.addHandler(Gate(Path(os.environ["FAULTS_GATE"])))
    # What drivers are told: the suite's proxy, which is in front of this server as any other.
    process.url_of = lambda host, listener: os.environ["FAULTS_ANNOUNCE"]
    main()

"""What a server does with the calls that it has when it is told to stop."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any

from tests.serving import Server, serving, until

from sparkowl.config import DATABASE_FILE

#: Longer than the server waits before it cancels calls.
LATE_S = 2.5


def is_answering(server: Server) -> bool:
    return bool(
        server.do(lambda: any("run_asgi" in str(task.get_coro()) for task in asyncio.all_tasks()))
    )


def test_a_start_that_is_committed_while_the_server_stops_is_answered(tmp_path: Path) -> None:
    """A 500 would have the client start a second session."""
    start: dict[str, Any] = {"WorkGroup": "spark", "EngineConfiguration": {}}
    with ThreadPoolExecutor() as threads:
        with (
            serving(tmp_path) as server,
            closing(sqlite3.connect(tmp_path / DATABASE_FILE, check_same_thread=False)) as slow,
        ):
            slow.execute("BEGIN IMMEDIATE")
            answer = threads.submit(server.client().start_session, **start)
            until(lambda: is_answering(server))
            release = Timer(LATE_S, slow.rollback)
            release.start()
            server.stop()
            release.join()

        assert answer.result()["State"] == "CREATING"

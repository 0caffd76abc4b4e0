"""A database, opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from sparkowl.store.engine import sqlite_engine

_OPENERS = 4


def test_a_new_file_can_be_opened_by_several_at_once(tmp_path: Path) -> None:
    """SQLite refuses the switch to WAL to one of them in some of these rounds."""
    at_once = Barrier(_OPENERS)

    def mode(path: Path) -> str:
        at_once.wait(30)
        with sqlite_engine(path).connect() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())

    with ThreadPoolExecutor(_OPENERS) as threads:
        for number in range(400):
            files = [tmp_path / f"{number}.db"] * _OPENERS
            assert list(threads.map(mode, files)) == ["wal"] * _OPENERS

"""A store on disk, with a session's workgroup in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkowl.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "test.db")
    yield opened
    opened.close()

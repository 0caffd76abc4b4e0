"""A data directory with its keys, and the store on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.keys import opened

from sparkowl import credentials
from sparkowl.config import DATABASE_FILE
from sparkowl.credentials import Credentials
from sparkowl.store import Store


@pytest.fixture
def first(tmp_path: Path) -> Credentials:
    return credentials.load_or_create(tmp_path)


@pytest.fixture
def store(tmp_path: Path, first: Credentials) -> Iterator[Store]:
    with opened(tmp_path / DATABASE_FILE) as store:
        yield store

"""A store on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.databases import ENGINES, new_place

from sparkowl.store import Store
from sparkowl.store.engine import Place


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine."""
    return str(request.param)


@pytest.fixture
def place(engine: str, tmp_path: Path) -> Place:
    """Where a store can be opened."""
    return new_place(engine, tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = Store.open(place)
    yield opened
    opened.close()

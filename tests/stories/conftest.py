"""Stories are told on each engine; those of a server that may die at any await, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from tests.databases import ENGINES, server
from tests.stories.world import ENGINE

_ON_SQLITE: Final = "tests.stories.test_crashes"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Not by the fixture's own parameters: hypothesis' state machines take none.
    if metafunc.module.__name__ != _ON_SQLITE:
        metafunc.parametrize("engine", ENGINES, indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine of every world that the story makes."""
    chosen = str(getattr(request, "param", "sqlite"))
    if chosen == "postgresql":
        server()
    token = ENGINE.set(chosen)
    yield chosen
    ENGINE.reset(token)

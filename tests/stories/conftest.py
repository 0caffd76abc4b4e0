"""Stories are told on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.databases import ENGINES, server
from tests.stories.world import ENGINE


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine of every world that the story makes."""
    if request.param == "postgresql":
        server()
    token = ENGINE.set(str(request.param))
    yield str(request.param)
    ENGINE.reset(token)

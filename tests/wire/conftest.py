"""One server for the tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.databases import new_place
from tests.serving import Server, serving, until


@pytest.fixture(scope="module")
def database() -> str:
    """What the server's store is on; files that are told on both have a fixture of their own."""
    return "sqlite"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    url = new_place(database, folder) if database == "postgresql" else None
    limits = {"sessions": 500, "account_dpus": 500}
    # So that sessions start in workgroups of which everything is said.
    encrypted = {"encrypted_disk": True}
    with serving(folder, limits=limits, store={"url": url}, objects=encrypted) as running:
        yield running


@pytest.fixture
def athena(server: Server) -> Any:
    return server.client()


@pytest.fixture
def idle_session(athena: Any) -> Iterator[Callable[[], str]]:
    """Makes sessions that are IDLE, and ends them after the test."""
    made: list[str] = []

    def make(**request: Any) -> str:
        defaults = {"WorkGroup": "spark", "EngineConfiguration": {}}
        session_id = str(athena.start_session(**(defaults | request))["SessionId"])
        made.append(session_id)
        until(lambda: state(athena, session_id) == "IDLE")
        return session_id

    yield make
    for session_id in made:
        athena.terminate_session(SessionId=session_id)


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])

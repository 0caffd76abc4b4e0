"""Servers that share a database and a data directory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests import databases
from tests.serving import serving

from sparkowl import app
from sparkowl.app.errors import StartError
from sparkowl.config import ADDRESS_FILE, Settings
from sparkowl.domain.ids import new_server_id
from sparkowl.domain.server import Place, Server
from sparkowl.store import Store, servers
from sparkowl.supervisor.servers import here


@pytest.fixture
def shared() -> dict[str, Any]:
    return {"store": {"url": databases.server().new_database()}}


def test_any_call_is_answered_on_either(tmp_path: Path, shared: dict[str, Any]) -> None:
    with serving(tmp_path, **shared) as first, serving(tmp_path, **shared) as second:
        session_id = first.client().start_session(WorkGroup="spark", EngineConfiguration={})[
            "SessionId"
        ]

        status = second.client().get_session_status(SessionId=session_id)

        assert status["SessionId"] == session_id
        second.client().terminate_session(SessionId=session_id)


def test_the_address_is_that_of_a_server_that_stays(tmp_path: Path, shared: dict[str, Any]) -> None:
    with serving(tmp_path, **shared) as first:
        with serving(tmp_path, **shared) as second:
            assert address(tmp_path) == second.url
        assert address(tmp_path) == first.url
        with serving(tmp_path, **shared):
            pass
        assert address(tmp_path) == first.url
    assert not (tmp_path / ADDRESS_FILE).exists()


def address(data_dir: Path) -> str:
    return str(json.loads((data_dir / ADDRESS_FILE).read_text())["url"])


def test_a_server_on_another_machine_is_no_peer(tmp_path: Path, shared: dict[str, Any]) -> None:
    refused = refusal_beside(replace(here(tmp_path), host="there"), tmp_path, shared)

    assert refused.startswith(
        "A SparkOwl on there (http://10.0.0.1:8765) uses this database. "
        "Servers that share a database must run on one machine"
    )


def test_a_server_with_another_data_directory_is_no_peer(
    tmp_path: Path, shared: dict[str, Any]
) -> None:
    refused = refusal_beside(here(Path("/elsewhere")), tmp_path, shared)

    assert refused == (
        "The SparkOwl at http://10.0.0.1:8765 uses this database with the data directory "
        "/elsewhere. Servers that share a database must share that, too: "
        "give --data-dir /elsewhere, or another database."
    )


def refusal_beside(place: Place, data_dir: Path, shared: dict[str, Any]) -> str:
    """Why a server does not start while another one has this place."""
    now = datetime.now(UTC)
    there = Server(
        id=new_server_id(),
        url="http://10.0.0.1:8765",
        place=place,
        started_at=now,
        expires_at=now + timedelta(hours=1),
    )
    settings = Settings(
        data_dir=data_dir, cache_dir=data_dir / "cache", port=0, launcher="fake", **shared
    )

    async def start() -> None:
        store = Store.open(shared["store"]["url"])
        await store.write(lambda tx: servers.renew(tx, there))
        store.close()
        stop = asyncio.Event()
        await app.serve(settings, stop, lambda running: stop.set())

    with pytest.raises(StartError) as error:
        asyncio.run(start())
    return str(error.value)

"""Signals between servers over PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests import databases

from sparkowl.store.notices import PostgresSignals
from sparkowl.store.signals import NoSignals, open_signals

PATIENT_S = 20.0


async def test_what_one_server_says_the_others_hear() -> None:
    url = databases.server().new_database()
    speaker, listener = PostgresSignals(url), PostgresSignals(url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener.listen(heard.put_nowait)
    try:
        # Whether the listener is there yet cannot be seen from outside.
        async with asyncio.timeout(PATIENT_S):
            while heard.empty():
                await speaker.say("a")
                await asyncio.sleep(0.01)
            await speaker.say("b")
            while await heard.get() != "b":
                pass
    finally:
        await asyncio.to_thread(speaker.close)
        await asyncio.to_thread(listener.close)


async def test_signals_work_again_after_the_database_was_away() -> None:
    server = databases.server()
    url = server.new_database()
    signals = PostgresSignals(url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    signals.listen(heard.put_nowait)
    try:
        await signals.say("before")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{url.rpartition('/')[2]}'"
        )

        async with asyncio.timeout(PATIENT_S):
            word = ""
            while word != "after":
                await signals.say("after")
                await asyncio.sleep(0.05)
                word = heard.get_nowait() if not heard.empty() else ""
    finally:
        await asyncio.to_thread(signals.close)


def test_a_server_on_a_file_is_alone(tmp_path: Path) -> None:
    assert isinstance(open_signals(tmp_path / "sparkowl.db"), NoSignals)

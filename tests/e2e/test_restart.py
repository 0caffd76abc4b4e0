"""What drivers do and leave while no server is there, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import (
    ENDED,
    GONE,
    User,
    folder_of,
    pid_of,
    running,
    wait_for,
)

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

WAITS_THEN_PRINTS = (
    "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)\nprint('done')"
)


def test_what_drivers_did_alone_is_known_to_the_next_server(tmp_path: Path) -> None:
    """One ends itself idle; one finishes its block first; one finishes it and is killed."""
    with running(
        tmp_path, POOL__SIZE="0", DRIVER__AWAY_IDLE_S="4", DRIVER__AWAY_BUSY_S="60"
    ) as server:
        user = User(server.client("athena"), server.client("s3"))
        idle, busy, killed = (user.session() for _ in range(3))
        folders = {
            session: folder_of(server.data_dir, session, user) for session in (idle, busy, killed)
        }
        blocks = {session: user.submit(session, WAITS_THEN_PRINTS) for session in (busy, killed)}
        for block in blocks.values():
            user.await_state(block, {"RUNNING"})
        agents = {session: pid_of(server.data_dir, session, user, "agent") for session in folders}

        server.kill()
        wait_for(lambda: (folders[idle] / "exit.json").exists(), bool)
        for session in (busy, killed):
            assert Path(f"/proc/{agents[session]}").exists(), "it is busy, and has to wait longer"
            (folders[session] / "work" / "go").touch()
        wait_for(lambda: facts_in(folders[killed]), bool)
        os.kill(agents[killed], signal.SIGKILL)
        wait_for(lambda: (folders[busy] / "exit.json").exists(), bool)
        server.start()

        user = User(server.client("athena"), server.client("s3"))
        reasons = {}
        for session in folders:
            status = user.await_session(session, GONE)
            assert status["State"] == "FAILED"
            reasons[session] = status["StateChangeReason"]
        assert "The server stayed away too long." in reasons[idle]
        assert "The server stayed away too long." in reasons[busy]
        for block in blocks.values():
            found = user.await_state(block, ENDED)
            assert found["Status"]["State"] == "COMPLETED", server.log()
            assert user.read(found["Result"]["StdOutS3Uri"]) == "done\n"
        wait_for(lambda: [f for f in folders.values() if f.exists()], lambda left: left == [])


def facts_in(folder: Path) -> list[str]:
    return [file.name for file in (folder / "outbox").iterdir() if "ended" in file.read_text()]

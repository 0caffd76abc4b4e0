"""A live session looked into: its threads are told, and it goes on as before."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.e2e.conftest import SPARKOWL, Server, User

pytestmark = pytest.mark.spark


def unpacked(server: Server, session: str, to: Path) -> dict[str, str]:
    subprocess.run(
        [SPARKOWL, "sessions", "diagnose", session, "--data-dir", server.data_dir, "--output", to],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with tarfile.open(to) as tar:
        return {
            member.name.partition("/")[2]: content.read().decode()
            for member in tar
            if (content := tar.extractfile(member)) is not None
        }


def test_a_session_goes_on_after_a_look_at_its_threads(
    server: Server, user: User, tmp_path: Path
) -> None:
    session = user.session()
    user.run(session, "import signal, threading\nx = 41")

    live = unpacked(server, session, tmp_path / "live.tar.gz")
    user.run(session, "signal.signal(signal.SIGURG, signal.SIG_DFL)")
    deaf = unpacked(server, session, tmp_path / "deaf.tar.gz")
    after = user.run(session, "print(x + 1)")
    user.end(session)
    gone = unpacked(server, session, tmp_path / "gone.tar.gz")

    assert "Full thread dump" in live["threads/jvm.txt"]
    assert "ipykernel" in live["threads/kernel.txt"]
    found = {process["is"] for process in json.loads(live["processes.json"])["processes"]}
    assert found == {"agent", "kernel", "jvm"}
    assert "threads/kernel.txt" not in deaf
    assert after[1:] == ("42\n", "")
    assert json.loads(gone["processes.json"])["end"]["agent_exit_code"] == 0
    assert "logs/jvm.txt" in gone


def test_user_code_does_not_see_what_is_kept(server: Server, user: User) -> None:
    user.end(user.session())
    kept = server.data_dir / "postmortem"
    assert any(kept.iterdir())
    session = user.session()
    _, out, _ = user.run(
        session,
        f"import os\ntry:\n    print(os.listdir({str(kept)!r}))\n"
        "except OSError as error:\n    print(type(error).__name__)",
    )
    user.end(session)
    assert out == "PermissionError\n"

"""How often the Jupyter process is begun, and that the agent does not try for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.agent.conftest import driver_spec

from sparkowl.agent.folder import Folder
from sparkowl.agent.messages import Adopt
from sparkowl.agent.notebooks import Notebooks, Program
from sparkowl.agent.reaper import Reaper


def adopt(base: str) -> Adopt:
    return Adopt(
        session_id="s",
        work_group="g",
        engine_version="e",
        started_at="2026-01-02T03:04:05Z",
        properties={},
        buckets={},
        jupyter_base=base,
        notebook="n.ipynb",
    )


class Guest:
    """The process that a program becomes, in a driver's folder without a driver."""

    def __init__(self, base: Path, command: Sequence[str], *, ahead: bool = True) -> None:
        spec = driver_spec(base, jupyter=ahead, confinement=None)
        self.closed = 0
        self.reaper = Reaper()
        self.log = Folder(Path(spec.run_dir)).jupyter_log
        self.notebooks = Notebooks(
            spec,
            Folder(Path(spec.run_dir)),
            self.reaper,
            Program(command=command, needs=()),
            {},
            self._close,
            first_pause_s=0.001,
        )

    def _close(self) -> None:
        self.closed += 1

    async def run(self) -> None:
        self.reaper.watch()
        await asyncio.wait_for(self.notebooks.run(), 60)

    @property
    def said(self) -> str:
        return self.log.read_text()


DIES = (sys.executable, "-c", "print('here', flush=True); raise SystemExit(3)")


async def test_one_that_always_dies_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guest = Guest(tmp_path, DIES)
    await guest.run()

    assert guest.said == "here\n" * 5
    assert guest.closed == 5
    assert caplog.messages == [
        *["The Jupyter process exited with status 3."] * 5,
        "The Jupyter process died 5 times in a row: no notebook.",
    ]
    assert list(guest.notebooks.processes) == []


async def test_one_that_cannot_be_started_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await Guest(tmp_path, ("/no/such/program",)).run()

    assert caplog.messages[0].startswith("The Jupyter process could not be started: ")
    assert caplog.messages[-1] == "The Jupyter process died 5 times in a row: no notebook."


async def test_none_is_begun_before_it_is_wanted(tmp_path: Path) -> None:
    guest = Guest(tmp_path, DIES, ahead=False)
    running = asyncio.create_task(guest.run())
    guest.notebooks.adopt(adopt(""))
    await asyncio.sleep(0)
    assert not guest.log.exists()

    guest.notebooks.adopt(adopt("/notebooks/s/"))
    await running
    assert guest.said == "here\n" * 5


def test_a_program_says_what_it_misses() -> None:
    assert Program().missing is None
    assert Program(needs=("json", "no_such_package")).missing == "no_such_package"

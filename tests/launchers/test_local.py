"""Drivers of this machine, where what happens needs no Spark: any program can stand in for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.builders import make_local_settings

from sparkowl.domain.ids import new_driver_id
from sparkowl.launchers import processes
from sparkowl.launchers.base import LaunchSpec
from sparkowl.launchers.local import LocalLauncher

#: Its first thread ends; the second stays until it is killed.
_HALF_DEAD = f"""#!{sys.executable}
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def a_launcher(folder: Path, program: str) -> LocalLauncher:
    python = folder / "python"
    python.write_text(program)
    python.chmod(0o700)
    settings = make_local_settings(folder, pythons={"stand-in": str(python)})
    return LocalLauncher(settings, lambda: "ws://127.0.0.1:1")


def a_spec() -> LaunchSpec:
    return LaunchSpec(
        driver_id=new_driver_id(),
        engine_version="stand-in",
        token="t" * 64,
        properties={},
        buckets={},
        warm=False,
    )


async def test_a_dying_driver_is_not_gone_before_it_is_known_how_it_ended(tmp_path: Path) -> None:
    launcher = a_launcher(tmp_path, _HALF_DEAD)
    handle = await launcher.launch(a_spec())
    pid = json.loads(handle)["pid"]
    async with asyncio.timeout(10):
        while processes.started_at(pid) is not None:
            await asyncio.sleep(0.01)

    dying = await launcher.observe(handle)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while (dead := await launcher.observe(handle)).alive:
            await asyncio.sleep(0.01)

    assert dying.alive
    assert dead.ended == "The driver's agent was killed by signal 9."
    await launcher.stop(handle, grace_s=0)

"""Has the class-data archive made, in the background, where it is missing.

The making is the agent's (``python -m sparkowl.agent.archive``), in the environment that drivers
run in. It takes up to a minute at the lowest priority; drivers start without it until then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


async def make_archive(
    cache_dir: Path, java_home: str | None, python: str = sys.executable
) -> None:
    """Make an environment's archive unless it is there; returns when it is.

    A failure is logged, not raised.
    """
    maker = await asyncio.create_subprocess_exec(
        python,
        "-m",
        "sparkowl.agent.archive",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    asked = json.dumps({"cache_dir": str(cache_dir), "java_home": java_home})
    try:
        said, _ = await maker.communicate(asked.encode())
    except asyncio.CancelledError:
        # As Ctrl-C: the maker ends the JVM that it runs, and clears its scratch folder.
        with suppress(ProcessLookupError):
            maker.send_signal(signal.SIGINT)
        await maker.wait()
        raise
    if maker.returncode != 0:
        log.warning("class-data archive not made", extra={"said": said.decode()[-1000:]})
    elif (made := json.loads(said))["new"]:
        log.info("class-data archive made", extra=made)

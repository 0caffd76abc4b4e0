"""``python -m sparkowl.agent <driver id>``: the agent beside a driver.

The driver's spec comes as JSON on standard input. Both processes are started before anything heavy
is imported: what the agent needs itself is loaded while the JVM comes up.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sparkowl.agent.folder import Folder
from sparkowl.agent.messages import DriverSpec
from sparkowl.agent.processes import adopt_orphans, first_to_go, mark
from sparkowl.agent.signs import variables

if TYPE_CHECKING:
    from sparkowl.agent.notebooks import Program


def main(jupyter: Program | None = None) -> int:
    """Be the agent, until its driver ends; ``jupyter`` is another program than our own."""
    started_at = time.time()
    os.umask(0o077)
    spec = DriverSpec.from_json(sys.stdin.read())
    folder = Folder(Path(spec.run_dir))
    # The id in argv is for people who look at `ps`; these are how we find our own.
    os.environ.update(variables(spec.driver_id, folder.root))
    folder.make()
    if not folder.hold():
        # Two servers launched this driver, as one of them slept in the middle of it.
        return 0
    os.chdir(folder.root)
    adopt_orphans()
    first_to_go()
    mark(folder.root)
    return _serve(spec, started_at, jupyter)


def _serve(spec: DriverSpec, started_at: float, jupyter: Program | None) -> int:
    from sparkowl.agent.launch import DriverLost, Launched, launch

    outcome: Launched | DriverLost
    try:
        outcome = launch(spec, started_at)
    except DriverLost as lost:
        outcome = lost

    import asyncio
    import logging

    from sparkowl.agent.agent import Agent, report_failure
    from sparkowl.agent.notebooks import Program

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    async def run() -> int:
        if isinstance(outcome, DriverLost):
            return await report_failure(spec, outcome)
        return await Agent(spec, outcome, jupyter or Program()).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())

"""``python -m sparkowl.metastore <descriptor of the listening socket> <descriptor of the lock>``.

The spec comes as JSON on standard input. It outlives the server that started it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from sparkowl.agent.processes import first_to_go, mark
from sparkowl.metastore.keeper import Keeper
from sparkowl.metastore.machine import JavaMetastore, Machine
from sparkowl.metastore.spec import KeeperSpec


def main(make: Callable[[KeeperSpec, int], Machine] = JavaMetastore) -> int:
    """Be the keeper; ``make`` is another metastore than our own."""
    listener, lock = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    os.umask(0o077)
    os.set_inheritable(lock, False)
    spec = KeeperSpec.from_json(sys.stdin.read())
    folder = Path(spec.folder)
    os.chdir(folder)
    first_to_go()
    mark(folder)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("py4j").setLevel(logging.CRITICAL)

    async def run() -> None:
        keeper = Keeper(spec, make(spec, lock))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, keeper.end)
        await keeper.run(listener)

    asyncio.run(run())
    # Threads that wait for a JVM that is gone must not keep us.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()

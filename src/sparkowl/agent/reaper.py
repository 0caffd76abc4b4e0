"""Who learns of the end of which child. Apart from :mod:`.processes`, which a start goes through
before the event loop is even imported."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress


class Reaper:
    """Collects every child that ends, orphans that came to us among them.

    ``Popen`` learns it here, not by waiting itself.
    """

    def __init__(self) -> None:
        self._told: dict[int, Callable[[int], None]] = {}

    def tell(self, pid: int, ended: Callable[[int], None]) -> None:
        """Have ``ended`` called with the child's return code, as ``Popen`` has it."""
        self._told[pid] = ended

    def watch(self) -> None:
        """From now on, in the running event loop, know at once when a child ends."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        self.reap()

    def reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                ended = self._told.pop(pid, None)
                if ended is not None:
                    ended(os.waitstatus_to_exitcode(status))

"""The session's Jupyter process: begun, told to serve, begun again when it dies, ended.

Its death is not the session's: calculations go on without a page. It is a guest beside the driver's
two processes, in a confinement of its own (:func:`~sparkowl.agent.launch.launch_jupyter`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sparkowl.agent import memory
from sparkowl.agent.counter import Answer, Counter
from sparkowl.agent.desk import LONGEST_FRAME
from sparkowl.agent.folder import Folder
from sparkowl.agent.launch import DriverLost, launch_jupyter
from sparkowl.agent.messages import Adopt, DriverSpec
from sparkowl.agent.processes import how_it_ended, kill
from sparkowl.agent.reaper import Reaper

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
#: So often in a row it may die soon after it began.
_MOST_SHORT_LIVES: Final = 5
_SHORT_LIFE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """What is started as the Jupyter process; its end of the desk is appended as a number."""

    command: Sequence[str] = (sys.executable, "-P", "-m", "sparkowl.agent.jupyter")
    #: Packages that it cannot do without.
    needs: Sequence[str] = ("jupyter_server", "notebook")

    @property
    def missing(self) -> str | None:
        """The first package that is not there."""
        return next((name for name in self.needs if importlib.util.find_spec(name) is None), None)


class Notebooks:
    def __init__(  # noqa: PLR0913 - each is a neighbour of its own
        self,
        spec: DriverSpec,
        folder: Folder,
        reaper: Reaper,
        program: Program,
        answers: Mapping[str, Answer],
        page_closed: Callable[[], None],
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """``page_closed`` is called when the process is gone, and with it whoever asked;
        ``first_pause_s`` after the first of several deaths it begins again, then ever later."""
        self._spec = spec
        self._folder = folder
        self._reaper = reaper
        self._program = program
        self._answers = answers
        self._page_closed = page_closed
        self._first_pause_s = first_pause_s
        #: What it serves; None: it is not known yet.
        self._serves: Adopt | None = None
        self._wanted = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._counter: Counter | None = None
        if spec.jupyter and program.missing is None:
            self._wanted.set()

    def adopt(self, adopt: Adopt) -> None:
        """Serve the session's notebook, or let the process go where the session has none.

        :class:`DriverLost` where this Python has no Jupyter. Repeated: no effect.
        """
        if not adopt.jupyter_base:
            self._wanted.clear()
            self._kill()
            return
        if self._program.missing is not None:
            raise DriverLost(
                "The session asks for a notebook, and the Python environment of its engine has no "
                f"{self._program.missing} package; its operator can install jupyter-server and "
                "notebook there.",
                "SERVER",
            )
        if self._serves is None:
            self._serves = adopt
            if self._counter is not None:
                self._tell_to_serve(self._counter, adopt)
        self._wanted.set()

    @property
    def processes(self) -> Iterable[int]:
        """Those that are the page's, and no leftovers of user code."""
        return () if self._process is None else list(memory.family(self._process.pid))

    async def run(self) -> None:
        """Keep a process while one is wanted; until cancelled, or it cannot be helped."""
        short_lives = 0
        while short_lives < _MOST_SHORT_LIVES:
            await self._wanted.wait()
            began = time.monotonic()
            how = await self._one_life()
            if not self._wanted.is_set():
                continue
            log.warning("%s", how)
            short_lives = short_lives + 1 if time.monotonic() - began < _SHORT_LIFE_S else 1
            await asyncio.sleep(self._first_pause_s * 2 ** (short_lives - 1))
        log.error("The Jupyter process died %s times in a row: no notebook.", short_lives)

    async def _one_life(self) -> str:
        """Begin it and answer it until it ends; how it did."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = launch_jupyter(self._spec, self._program.command, theirs.fileno())
        except (OSError, subprocess.SubprocessError) as error:
            ours.close()
            return f"The Jupyter process could not be started: {error}"
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reaper.tell(process.pid, lambda code: _note(process, code, ended))
        self._process = process
        try:
            await self._talk(ours)
            self._kill()
            return f"The Jupyter process {how_it_ended(await ended)}."
        finally:
            self._kill()
            self._process = None
            self._page_closed()

    async def _talk(self, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_FRAME)
        self._counter = Counter(reader, writer, self._answers)
        if self._serves is not None:
            self._tell_to_serve(self._counter, self._serves)
        try:
            await self._counter.serve()
        finally:
            self._counter = None
            writer.close()

    def _tell_to_serve(self, counter: Counter, adopt: Adopt) -> None:
        counter.tell(
            "serve",
            base_url=adopt.jupyter_base,
            token=self._spec.jupyter_token,
            notebook=adopt.notebook,
            connection_file=str(self._folder.connection),
        )

    def _kill(self) -> None:
        # Once reaped, its number may be a stranger's.
        if self._process is not None and self._process.returncode is None:
            kill(self._process.pid)


def _note(process: subprocess.Popen[bytes], code: int, ended: asyncio.Future[int]) -> None:
    process.returncode = code
    if not ended.done():
        ended.set_result(code)

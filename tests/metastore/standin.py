"""A keeper whose metastore is a small program that sends back what it is sent, in upper case.

Started as ``sparkowl.metastore`` is. ``FAILS`` in the catalogue's folder keeps the program from
starting.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

from sparkowl.agent.processes import dying_with_parent
from sparkowl.metastore.__main__ import main
from sparkowl.metastore.machine import MachineError
from sparkowl.metastore.names import Files
from sparkowl.metastore.spec import KeeperSpec

_PROGRAM = """
import os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print(os.getpid(), listener.getsockname()[1], flush=True)
def serve(line):
    while block := line.recv(1 << 16):
        line.sendall(block.upper())
    line.close()
def call():
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
threading.Thread(target=call, daemon=True).start()
sys.stdin.read()
"""


class Echo:
    """Fulfils :class:`sparkowl.metastore.machine.Machine`; each start is a line in ``starts``."""

    def __init__(self, spec: KeeperSpec, lock: int) -> None:
        self._files = Files(Path(spec.folder))
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        await self.stop()
        if (self._files.root / "FAILS").exists():
            raise MachineError("The metastore could not be started: it fails.")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._lock,),
            preexec_fn=dying_with_parent(),
        )
        assert self._process.stdout is not None
        said = await asyncio.to_thread(self._process.stdout.readline)
        pid, port = said.split()
        self._port = int(port)
        with (self._files.root / "starts").open("a") as starts:
            starts.write(f"{int(pid)}\n")

    async def open(self) -> socket.socket:
        line = socket.socket()
        line.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", self._port))
        except OSError as error:
            raise MachineError(str(error)) from error
        return line

    async def look_at_buckets(self) -> None:
        """It has none."""

    async def backup(self) -> Path | None:
        copy = self._files.metastore / "backup-1" / "derby"
        copy.mkdir(parents=True)
        (copy / "pages").write_text("as they are at one moment")
        return copy.parent

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(Echo)

"""The JVM that is the metastore, seen from the keeper.

It is started as Spark's own gateway for Python, and Hive's metastore is put together in it over
py4j. Hive's own main class would listen on every address of the machine, and let in everybody.
Here the JVM dials us: one connection, and one thread there, for each caller. It ends when its
standard input does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from sparkowl.agent import buckets, confine, java, jvm
from sparkowl.agent.messages import Confinement, RunAs
from sparkowl.agent.noise import silence_py4j
from sparkowl.agent.processes import spawn
from sparkowl.metastore import hive
from sparkowl.metastore.mounted import Mounted
from sparkowl.metastore.names import Files
from sparkowl.metastore.spec import KeeperSpec

#: Callers at once. Each session that uses the catalogue has one or two.
CONNECTIONS: Final = 256
#: Threads for what else is asked of it.
_BESIDE: Final = 4
_START_S: Final = 120.0
#: How long the database may take, which may have to be filled first. A PostgreSQL that takes a
#: connection and says nothing would be waited for by every session, for ever.
_ASSEMBLED_S: Final = 120.0
#: How long the JVM may take to dial us: milliseconds, unless it hangs.
_OPENED_S: Final = 30.0
_END_S: Final = 2.0
_POLL_S: Final = 0.02
_MAIN: Final = "org.apache.spark.api.python.PythonGatewayServer"
_LOG_LIMIT_BYTES: Final = 8 << 20


class MachineError(Exception):
    """The metastore does not run, or did not do as asked; the message says why."""


class Machine(Protocol):
    """A metastore as the keeper needs it; used from one event loop."""

    @property
    def alive(self) -> bool: ...

    async def start(self) -> None:
        """Start it; it answers then. :class:`MachineError` when it cannot be had."""

    async def open(self) -> socket.socket:
        """A connection to it, not blocking. :class:`MachineError` when there is none."""

    async def look_at_buckets(self) -> None:
        """Know the buckets that there are now. Cheap where nothing changed.

        :class:`MachineError`, OSError: it goes on with those that it knows.
        """

    async def backup(self) -> Path | None:
        """Write the embedded database into a new folder, as it is at one moment.

        None: there is none, or none yet. :class:`MachineError` when it did not work.
        """

    async def stop(self) -> None:
        """End it, and wait until it has. Repeated: no effect."""


class JavaMetastore:
    def __init__(
        self,
        spec: KeeperSpec,
        lock: int,
        *,
        assembled_s: float = _ASSEMBLED_S,
        opened_s: float = _OPENED_S,
    ) -> None:
        self._spec = spec
        self._assembled_s = assembled_s
        self._opened_s = opened_s
        self._files = Files(Path(spec.folder))
        #: Held by the JVM as well: while it lives, nobody else opens its database.
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None
        self._threads = ThreadPoolExecutor(CONNECTIONS + _BESIDE, thread_name_prefix="metastore")
        self._hive: hive.Hive | None = None
        self._opening = asyncio.Lock()
        self._mounted = Mounted(spec.buckets_dir)
        silence_py4j()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        await self.stop()
        try:
            self._listen()
            self._process = self._spawn()
            found = await self._gateway(self._process)
            chosen = hive.properties(self._spec, self._mounted.begin())
            self._hive = await self._assemble(found, chosen)
        except (java.JavaNotFound, OSError, subprocess.SubprocessError, hive.Refused) as error:
            await self.stop()
            raise MachineError(f"The metastore could not be started: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def _assemble(self, found: tuple[int, str], chosen: Mapping[str, str]) -> hive.Hive:
        try:
            async with asyncio.timeout(self._assembled_s):
                made: hive.Hive = await self._in_thread(hive.Hive.assemble, found, chosen)
        except TimeoutError:
            raise OSError(f"its database does not answer within {self._assembled_s:g} s") from None
        return made

    def _listen(self) -> None:
        files, run_as = self._files, self._spec.run_as
        files.tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (files.socket, files.gateway):
            left.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        # The keeper stands in the catalogue's folder: a longer path might not fit.
        self._listener.bind(str(files.socket.relative_to(files.root)))
        self._listener.listen()
        self._listener.setblocking(False)
        if run_as is not None:
            give(files.metastore, run_as)

    def _spawn(self) -> subprocess.Popen[bytes]:
        spec, files = self._spec, self._files
        home = jvm.spark_home()
        found = java.find(spec.java_home, os.environ, jvm.spark_version(home))
        archive = jvm.archive_file(Path(spec.cache_dir), found, home)
        sandbox = confine.prepare(_complete(spec, found, home), spec.run_as)
        if files.jvm_log.exists() and files.jvm_log.stat().st_size > _LOG_LIMIT_BYTES:
            files.jvm_log.replace(files.jvm_log.with_suffix(".log.1"))
        try:
            return spawn(
                [
                    str(found.executable),
                    *jvm.FLAGS,
                    f"-Xmx{spec.heap}",
                    f"-Djava.io.tmpdir={files.tmp}",
                    f"-Dderby.system.home={files.metastore}",
                    *([f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else []),
                    "-Xshare:auto",
                    "-cp",
                    ":".join((jvm.class_path(home), *spec.class_path)),
                    _MAIN,
                ],
                env=jvm.inherited(os.environ)
                | {
                    "HOME": str(files.metastore),
                    "TMPDIR": str(files.tmp),
                    "JAVA_HOME": str(found.home),
                    "SPARK_LOCAL_IP": "127.0.0.1",
                    "MALLOC_ARENA_MAX": "2",
                    # A thread in the JVM for each connection of ours.
                    "PYSPARK_PIN_THREAD": "false",
                    "_PYSPARK_DRIVER_CONN_INFO_PATH": str(files.gateway),
                },
                cwd=files.metastore,
                log=files.jvm_log,
                confine=sandbox.enter,
                umask=spec.umask,
                stdin=subprocess.PIPE,
                pass_fds=(self._lock,),
            )
        finally:
            sandbox.close()

    async def _gateway(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                while process.poll() is None:
                    if (found := jvm.gateway(self._files.gateway)) is not None:
                        return found
                    await asyncio.sleep(_POLL_S)
        raise OSError(f"its JVM did not come up ({self._files.jvm_log} says why).")

    async def open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._hive is None or self._listener is None:
                raise MachineError("The metastore does not run.")
            served = loop.run_in_executor(self._threads, self._hive.serve, self._files.socket.name)
            # How a connection ends is its caller's business.
            served.add_done_callback(lambda done: done.exception())
            accepting = asyncio.ensure_future(self._accept(self._listener))
            both: set[asyncio.Future[Any]] = {served, accepting}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED, timeout=self._opened_s)
            if accepting.done():
                return accepting.result()
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            if not served.done():
                await self.stop()
                raise MachineError("The metastore hung, and was ended.")
            raise MachineError(f"The metastore took no connection: {served.exception()}")

    async def _accept(self, listener: socket.socket) -> socket.socket:
        """The JVM's call; whoever else finds the socket is sent away."""
        while True:
            line, _ = await asyncio.get_running_loop().sock_accept(listener)
            credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid, _, _ = struct.unpack("3i", credentials)
            if self._process is not None and pid == self._process.pid:
                return line
            line.close()

    async def look_at_buckets(self) -> None:
        if self._hive is not None:
            await self._mounted.look(self._mount)

    async def _mount(self, new: Mapping[str, str]) -> None:
        if self._hive is None:
            return
        try:
            await self._in_thread(self._hive.mount, buckets.mount_keys(new), list(new))
        except hive.Refused as error:
            names = ", ".join(new)
            raise MachineError(
                f"The metastore does not know the buckets {names}: {error}"
            ) from error

    async def backup(self) -> Path | None:
        if self._spec.database is not None or not self._exists():
            return None
        target = self._files.metastore / f"backup-{os.urandom(8).hex()}"
        try:
            if self.alive and self._hive is not None:
                await self._in_thread(self._hive.backup, str(target), hive.derby_url(self._spec))
            else:
                copy = target / self._files.derby.name
                await self._in_thread(
                    partial(shutil.copytree, self._files.derby, copy, symlinks=True)
                )
        except (OSError, hive.Refused) as error:
            shutil.rmtree(target, ignore_errors=True)
            raise MachineError(f"The catalogue could not be backed up: {error}") from error
        return target

    def _exists(self) -> bool:
        return self._files.derby.is_dir()

    async def stop(self) -> None:
        process, self._process, self._hive = self._process, None, None
        # While we wait the next may be started, with a listener of its own.
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if process is not None:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            try:
                await self._in_thread(process.wait, _END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                await self._in_thread(process.wait)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


def give(folder: Path, run_as: RunAs) -> None:
    """Let another user have a folder with all that is in it.

    It may have had it before, and what it left running changes names meanwhile: so each file is
    named in its open folder, and no link is followed. A file that has a second name stays whose it
    is, as that one may be anywhere.
    """
    for _, _, names, opened in os.fwalk(folder, follow_symlinks=False):
        os.fchown(opened, run_as.uid, run_as.gid)
        for name in names:
            with suppress(FileNotFoundError):  # gone since it was listed
                if os.stat(name, dir_fd=opened, follow_symlinks=False).st_nlink == 1:
                    os.chown(name, run_as.uid, run_as.gid, dir_fd=opened, follow_symlinks=False)


def _complete(spec: KeeperSpec, found: java.Java, home: Path) -> Confinement | None:
    """The confinement, with the programs that the JVM takes."""
    asked = spec.confinement
    if asked is None:
        return None
    hidden = [Path(os.path.realpath(path)) for path in asked.hidden]
    needed: Iterable[str] = (str(found.home), str(home), spec.cache_dir, *spec.class_path)
    programs = [
        path
        for path in map(os.path.realpath, needed)
        if not any(h.is_relative_to(path) for h in hidden)
    ]
    return Confinement(
        hidden=asked.hidden,
        readable=(*asked.readable, *programs),
        writable=asked.writable,
    )

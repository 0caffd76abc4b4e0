"""The shared catalogue, seen from the server: its port, its keeper, and what drivers are told.

The server listens on the catalogue's port itself until somebody calls: a catalogue that no session
uses costs a socket. The first call starts the keeper (:mod:`sparkowl.metastore`), which inherits
the socket. A server that finds a keeper leaves the port to it, and listens again when it is gone.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sparkowl.agent import signs
from sparkowl.launchers import processes
from sparkowl.metastore import control
from sparkowl.metastore.names import TAG, Files
from sparkowl.metastore.spec import KeeperSpec

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_BRIEFLY_S: Final = 0.02
#: How long a keeper may take to end, with its JVM, before it is killed.
_END_S: Final = 10.0
_KILLED_S: Final = 1.0
#: Calls that wait while the keeper starts.
_BACKLOG: Final = 128
_KEEPER: Final = (sys.executable, "-P", "-m", "sparkowl.metastore")


class Catalog:
    """Sees to it that whoever calls on the catalogue's port is answered."""

    def __init__(self, spec: KeeperSpec, program: Sequence[str] = _KEEPER) -> None:
        self._spec = spec
        self._program = program
        self._files = Files(Path(spec.folder))
        self._lock: int | None = None
        self._listener: socket.socket | None = None
        #: The process id of a keeper that we started, and that has not ended as far as we know.
        self._keeper: int | None = None

    def open(self) -> None:
        """Make the folder, choose the port, and listen unless somebody of ours does. OSError."""
        spec, files = self._spec, self._files
        for folder in (files.root, files.metastore):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if spec.run_as is not None:
            # The JVM's user passes through to its own folder, which the keeper gives it.
            os.chown(files.root, -1, spec.run_as.gid)
            files.root.chmod(0o710)
        else:
            files.root.chmod(0o700)
        while not self._listen(elsewhere=True) and not files.port.exists():
            # Another server of this data directory begins at this moment.
            time.sleep(_BRIEFLY_S)

    @property
    def uri(self) -> str:
        """Where sessions find it; :meth:`open` first."""
        return f"thrift://127.0.0.1:{int(self._files.port.read_text())}"

    async def watch(self) -> None:
        """Until cancelled: hold on to the keeper, and listen while there is none."""
        said = ""
        while True:
            try:
                if await self._stay_with_keeper():
                    said = ""
                    continue
                if self._listener is not None or self._listen():
                    said = ""
                    await self._first_call()
                    await self._start_keeper()
                    continue
            except OSError as error:
                # No more files or processes, or somebody took the port, which drivers were told.
                # Sessions without tables need not end for it.
                if str(error) != said:
                    log.warning("the catalogue cannot be had: %s", error)
                said = str(error)
            # Or another server of this data directory listens, or what a keeper left is ending.
            await asyncio.sleep(_LOOK_EVERY_S)

    async def close(self, *, keep: bool) -> None:
        """Stop listening; end the keeper as well unless it is to stay. Leaves no process then.

        A keeper that another server of this data directory uses stays in any case.
        """
        self.let_go()
        if not keep and await self._told_to_stop():
            await self._until_gone()
        self._reap()

    # --- listening -----------------------------------------------------------------------------

    def _listen(self, *, elsewhere: bool = False) -> bool:
        """Listen, if nobody of ours does: the keeper, its JVM, or another server. ``elsewhere``: on
        another port if ours is taken."""
        lock = os.open(self._files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Of a keeper that was killed.
            self._files.control.unlink(missing_ok=True)
            self._listener = self._bind(elsewhere=elsewhere)
        except BlockingIOError:
            os.close(lock)
            return False
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return True

    def _bind(self, *, elsewhere: bool) -> socket.socket:
        with suppress(FileNotFoundError, ValueError):
            known = int(self._files.port.read_text())
            try:
                return _listening(known)
            except OSError as error:
                if not elsewhere:
                    raise
                log.warning(
                    "port %d of the catalogue is taken (%s): another one from now on; sessions "
                    "that run already do not reach their tables",
                    *(known, error.strerror),
                )
        listener = _listening(0)
        aside = self._files.port.with_suffix(".new")
        aside.write_text(str(listener.getsockname()[1]))
        aside.replace(self._files.port)
        return listener

    async def _first_call(self) -> None:
        assert self._listener is not None
        loop, called = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._listener, called.set)
        try:
            await called.wait()
        finally:
            loop.remove_reader(self._listener)

    def let_go(self) -> None:
        """Listen no more. Repeated: no effect."""
        if self._listener is not None and self._lock is not None:
            self._listener.close()
            os.close(self._lock)
        self._listener = self._lock = None

    # --- the keeper ----------------------------------------------------------------------------

    async def _start_keeper(self) -> None:
        """Hand over socket and lock; return when it is there, or has ended."""
        log.info("a session uses the catalogue: its keeper is started")
        self._keeper = self._spawn()
        while not self._reap():
            if self._files.control.exists():
                return
            await asyncio.sleep(_BRIEFLY_S)
        log.error("the catalogue's keeper did not start: see %s", self._files.keeper_log)

    def _spawn(self) -> int:
        assert self._listener is not None
        assert self._lock is not None
        handed = self._listener.fileno(), self._lock
        try:
            with self._files.keeper_log.open("ab") as sink:
                keeper = subprocess.Popen(
                    [*self._program, *map(str, handed)],
                    stdin=subprocess.PIPE,
                    stdout=sink,
                    stderr=sink,
                    cwd=self._files.root,
                    env=_environment(self._files.root),
                    pass_fds=handed,
                    start_new_session=True,
                )
        finally:
            self.let_go()
        assert keeper.stdin is not None
        with suppress(OSError), keeper.stdin as told:  # it ended at once
            told.write(self._spec.to_json().encode())
        # It may outlive us, of which Python would complain.
        keeper.returncode = 0
        return keeper.pid

    def _reap(self) -> bool:
        """Whether no keeper that we started runs; one that ended is a zombie until we look."""
        if self._keeper is not None:
            try:
                ended, _ = os.waitpid(self._keeper, os.WNOHANG)
            except ChildProcessError:
                ended = self._keeper
            if ended:
                self._keeper = None
        return self._keeper is None

    async def _stay_with_keeper(self) -> bool:
        """Be one of its servers until it ends; False: there is none."""
        try:
            with control.address(self._files.root) as at:
                heard, said = await asyncio.open_unix_connection(at)
        except (FileNotFoundError, ConnectionError):
            return False
        try:
            said.write(control.order(self._files.root, do="hello", spec=self._spec.digest))
            # It says nothing more than its answer, and ends this when it ends.
            while await heard.readline():
                pass
        except ConnectionError:
            pass
        finally:
            said.close()
        self._reap()
        return True

    async def _told_to_stop(self) -> bool:
        """Whether it is to end, or there is none that could answer."""
        with suppress(OSError):
            answer = await asyncio.to_thread(
                control.ask, self._files.root, within_s=_END_S, do="stop"
            )
            if answer is not None:
                return bool(answer["ok"])
        if not self._reap():
            # It begins at this moment, and listens to nobody else yet; or it hangs.
            assert self._keeper is not None
            os.kill(self._keeper, signal.SIGTERM)
        return True

    async def _until_gone(self) -> None:
        """Wait until keeper and JVM have ended; kill what has not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while not self._is_free():
                    await asyncio.sleep(_BRIEFLY_S)
                    self._reap()
        while left := await asyncio.to_thread(processes.of_driver, TAG, self._files.root):
            processes.kill(left)
            for pid in left:
                await processes.ended(pid, _KILLED_S)

    def _is_free(self) -> bool:
        with self._files.lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _environment(folder: Path) -> dict[str, str]:
    passed = ("PATH", "LANG", "LC_ALL", "TZ", "JAVA_HOME")
    given = {name: os.environ[name] for name in passed if name in os.environ}
    return given | signs.variables(TAG, folder) | {"HOME": str(folder)}


def status(folder: Path) -> Mapping[str, object] | None:
    """How the catalogue's keeper is, in its own words; None while nobody used the catalogue."""
    if not folder.is_dir():
        return None
    try:
        return control.ask(folder, do="status")
    except (OSError, json.JSONDecodeError) as error:
        return {"ok": False, "error": str(error)}


@contextmanager
def saved(folder: Path) -> Iterator[Path | None]:
    """A copy of the embedded database as it was at one moment, deleted after the block.

    None: there is none. OSError when it could not be made.
    """
    copied = _copied(folder) if Files(folder).derby.is_dir() else None
    try:
        yield None if copied is None else copied / Files(folder).derby.name
    finally:
        if copied is not None:
            shutil.rmtree(copied)


def _copied(folder: Path) -> Path | None:
    if (answer := control.ask(folder, do="backup")) is None:
        # No keeper, so nobody writes.
        target = folder / f"backup-{os.urandom(8).hex()}"
        try:
            shutil.copytree(Files(folder).derby, target / Files(folder).derby.name, symlinks=True)
            answer = control.ask(folder, do="backup")
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        if answer is None:
            return target
        # One was started meanwhile: what we copied may be half of something.
        shutil.rmtree(target)
    if not answer["ok"]:
        raise OSError(answer["error"])
    return None if answer["folder"] is None else Path(answer["folder"])

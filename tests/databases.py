"""The databases that a store can be on, for tests: SQLite files, and a PostgreSQL of our own.

One PostgreSQL server runs for a whole run of the tests, made when the first test asks for it. Each
test has a database of its own in it, copied from one with tables. Where PostgreSQL is not installed
such tests are skipped; in CI (the environment variable ``CI``) they fail.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import psycopg
import pytest

from sparkowl.store import migrate
from sparkowl.store.engine import Place

ENGINES: Final = ("sqlite", "postgresql")
#: Starting PostgreSQL may take this long on a busy machine.
_PATIENT_S: Final = 60.0
#: Databases that are kept: a test may open its own several times.
_KEPT: Final = 30
_NUMBERS: Final = count(1)
_TEMPLATE: Final = "template_sparkowl"
_PASSWORD: Final = "hidden-word"


class PostgreSQL:
    """A PostgreSQL server in a folder of its own, on a Unix socket and a loopback port."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="sparkowl-pg-"))
        self._data = self.folder / "data"
        self._owner = self._unprivileged()
        self._made: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        try:
            if self._owner is not None:
                os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
            # Trust: whoever may enter the folder (us) or loopback is in; it holds nothing.
            self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
                      "--username=sparkowl", "--no-sync", "-D", str(self._data))  # fmt: skip
            self.start()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        """Run it, until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres", "-D", self._data, "-k", self.folder,
                    "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}",
                    "-c", "max_connections=200", "-c", "fsync=off", "-c", "timezone=Asia/Kathmandu",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_owner(),
            )  # fmt: skip
        deadline = monotonic() + _PATIENT_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if monotonic() > deadline or self._process.poll() is not None:
                    raise
                sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: every connection is cut, and it ends; SIGQUIT: at once, as if it crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENT_S)
            self._process = None

    def end(self) -> None:
        """Stop it and remove all that it made."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://sparkowl:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as the superuser; its rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template0") -> str:
        """The URL of a database that nobody else has."""
        if len(self._made) > _KEPT:
            oldest = self._made.pop(0)
            # One that a longer test still has open stays till the end.
            with suppress(psycopg.errors.ObjectInUse):
                self.execute(f"DROP DATABASE {oldest}")
        name = f"test_{next(_NUMBERS)}"
        self._made.append(name)
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    @cache  # noqa: B019  it lives as long as the tests
    def template(self) -> str:
        """The name of a database with our tables, to copy."""
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate.upgrade(self.url(_TEMPLATE))
        return _TEMPLATE

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True, capture_output=True, timeout=_PATIENT_S, **self._as_owner(),
        )  # fmt: skip

    def _unprivileged(self) -> pwd.struct_passwd | None:
        """PostgreSQL refuses to run as root: its own user takes it, as Debian has it."""
        return pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    def _as_owner(self) -> dict[str, Any]:
        owner = self._owner
        if owner is None:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


@cache
def _started() -> PostgreSQL | str:
    """The server of this run; or why there is none."""
    programs = _programs()
    if programs is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    server = PostgreSQL(programs)
    atexit.register(server.end)
    return server


def new_server() -> PostgreSQL:
    """One more server, for a test that stops it; the caller ends it."""
    server()
    programs = _programs()
    assert programs is not None
    return PostgreSQL(programs)


def server() -> PostgreSQL:
    """The server of this run; without one the test is skipped, or fails in CI."""
    found = _started()
    if isinstance(found, PostgreSQL):
        return found
    if os.environ.get("CI"):
        pytest.fail(found)
    pytest.skip(found)


def new_place(engine: str, folder: Path) -> Place:
    """Where a store can be opened: nothing is there yet, or nothing but empty tables."""
    if engine == "sqlite":
        return folder / f"test-{next(_NUMBERS)}.db"
    running = server()
    return running.new_database(running.template())


def empty_place(engine: str, folder: Path) -> Place:
    """The same, without tables."""
    return folder / f"empty-{next(_NUMBERS)}.db" if engine == "sqlite" else server().new_database()


def _programs() -> Path | None:
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).parent
    debian = Path("/usr/lib/postgresql")
    versions = sorted(debian.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A server on a file system of its own, with everything that can be done to it."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from faults.proxy import Proxy

ROOT: Final = Path(__file__).parent.parent
#: Of the data directory's file system. Small, so that filling it takes a moment.
DISK_MB: Final = 400
SETTINGS: Final = {
    "POOL__SIZE": "1",
    "DRIVER__DISK_NEEDED_MB": "0",
    "DRIVER__CORES": "2",
    "DRIVER__STARTS_AT_ONCE": "2",
    "DRIVER__START_TIMEOUT_S": "120",
    "DRIVER__SILENT_AFTER_S": "3",
    "DRIVER__LOST_AFTER_S": "30",
    "DRIVER__STOP_GRACE_S": "2",
    "RATES__READS": '{"per_s": 0, "burst": 1}',
    "RATES__WRITES": '{"per_s": 0, "burst": 1}',
}
#: Only as root: the modes of files mean something to the server, as to any other user's.
BOUND: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search",
                "--inh-caps=-dac_override,-dac_read_search")  # fmt: skip

_signing_now = botocore.auth.get_current_datetime
#: Seconds that the server's clock, and that of whoever signs for it, is ahead.
_ahead = 0.0


def _moved(*arguments: Any, **named: Any) -> Any:
    """While a world is there, every client of this process signs by its server's clock."""
    return _signing_now(*arguments, **named) + timedelta(seconds=_ahead)


def faketime() -> Path | None:
    """The library that moves one process's clock."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@functools.cache
def may_mount() -> bool:
    """Root may, but not in every container."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "sparkowl-faults", place]
        if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            return False
        subprocess.run(["umount", place], check=True)
    return True


def left_out() -> dict[str, str]:
    """Faults that this machine cannot have, and why."""
    why = {}
    if not may_mount():
        why["full disk"] = "it takes the right to mount a small file system"
    if faketime() is None:
        why["clock forward"] = why["clock back"] = "libfaketime is not installed"
    return why


class Down(Exception):
    """The server did not answer."""


class Broken(Exception):
    """Something did not come about that the run needs, before anything was broken."""


class World:
    def __init__(self, folder: Path) -> None:
        global _ahead
        self.folder = folder
        self.data_dir = folder / "data"
        self.control = folder / "control"
        self.log = folder / "server.log"
        for place in (self.data_dir, self.control):
            place.mkdir(parents=True)
        self.mounted = may_mount()
        if self.mounted:
            size = f"size={DISK_MB}m,mode=0700"
            mount = ["mount", "-t", "tmpfs", "-o", size, "sparkowl-faults", str(self.data_dir)]
            subprocess.run(mount, check=True)
        self.port = _free_port()
        self.proxy = Proxy(self.port)
        _ahead = 0.0
        botocore.auth.get_current_datetime = _moved
        self._tell_clock()
        self.process: subprocess.Popen[str]
        self.start()
        self._environment = self._exports()
        self.athena, self.s3 = self.client("athena"), self.client("s3")
        #: Sessions that are known to have been acknowledged.
        self.known: list[str] = []
        #: One that is IDLE and may be used again.
        self.kept: str | None = None

    # --- the server --------------------------------------------------------------------------

    def start(self) -> None:
        environment = os.environ | {f"SPARKOWL_{k}": v for k, v in SETTINGS.items()}
        environment |= {
            "FAULTS_GATE": str(self.control),
            "FAULTS_ANNOUNCE": f"http://127.0.0.1:{self.proxy.port}",
            "PYTHONPATH": str(ROOT),
        }
        library = faketime()
        if library is not None:
            environment |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.control / "clock"),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_RESET": "1",
            }
        command = [sys.executable, "-m", "faults.server", "serve"]
        where = ["--data-dir", str(self.data_dir), "--port", str(self.port)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*(BOUND if os.geteuid() == 0 else ()), *command, *where],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # A Ctrl-C is for the suite, which ends the server in its own way.
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("SparkOwl is ready at "):
            raise Broken(f"The server did not start: {line}{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        """As systemd does it."""
        self.process.terminate()
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def move_clock(self, seconds: float) -> None:
        global _ahead
        _ahead += seconds
        self._tell_clock()
        # The library looks at its file once a second.
        time.sleep(1.1)

    def _tell_clock(self) -> None:
        (self.control / "clock").write_text(f"{_ahead:+.0f}\n")

    # --- its client --------------------------------------------------------------------------

    def _exports(self) -> dict[str, str]:
        command = [str(Path(sys.executable).with_name("sparkowl")), "env"]
        printed = subprocess.run(
            [*command, "--data-dir", str(self.data_dir)], capture_output=True, text=True, check=True
        ).stdout
        pairs = (
            shlex.split(line)[1].partition("=")
            for line in printed.splitlines()
            if line.startswith("export")
        )
        return {name: value for name, _, value in pairs}

    def client(self, service: str) -> Any:
        values = self._environment
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name=values["AWS_DEFAULT_REGION"],
            config=Config(
                retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30,
                s3={"addressing_style": "path"},
            ),
        )  # fmt: skip

    def call(self, operation: str, **request: Any) -> Any:
        """One call; :class:`Down` when no answer came."""
        try:
            return getattr(self.athena, operation)(**request)
        except ClientError:
            raise
        except (BotoCoreError, OSError) as error:
            raise Down(str(error)) from error

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError:
            raise
        except (BotoCoreError, OSError) as error:
            raise Down(str(error)) from error

    def until_status(self, session: str, states: set[str], within_s: float = 120) -> str:
        return wait_for(
            lambda: str(self.call("get_session_status", SessionId=session)["Status"]["State"]),
            lambda state: state in states,
            within_s,
            every_s=0.2,
        )

    def idle_session(self) -> str:
        """One that rests: kept from an earlier run, or a new one."""
        if self.kept is None:
            asked = {"WorkGroup": "spark", "EngineConfiguration": {}, "Description": "idle"}
            session = str(self.call("start_session", **asked)["SessionId"])
            self.known.append(session)
            self.kept = session
        if self.until_status(self.kept, {"IDLE", "FAILED", "TERMINATED"}) != "IDLE":
            raise Broken(f"session {self.kept} did not become IDLE")
        return self.kept

    # --- the gate ----------------------------------------------------------------------------

    def arm(self, message: str, *, new_session: bool = False, **fields: str) -> None:
        for name in ("reached", "go"):
            (self.control / name).unlink(missing_ok=True)
        asked = {
            "message": message,
            "fields": fields,
            "new_session": new_session,
            "known": self.known,
        }
        aside = self.control / "arm.new"
        aside.write_text(json.dumps(asked))
        aside.replace(self.control / "arm")

    def reached(self, within_s: float = 100) -> dict[str, Any]:
        """Wait until the server stands at the gate; what the line said."""
        file = self.control / "reached"
        wait_for(file.exists, bool, within_s, every_s=0.002)
        return dict(json.loads(file.read_text()))

    def let_go(self) -> None:
        (self.control / "arm").unlink(missing_ok=True)
        (self.control / "go").touch()

    # --- what is there -----------------------------------------------------------------------

    def query(self, sql: str, *values: Any) -> list[Any]:
        path = f"file:{self.data_dir / 'sparkowl.db'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(sql, values).fetchall()

    def driver_of(self, session: str) -> str:
        [row] = self.query("SELECT id FROM drivers WHERE session_id = ?", session)
        return str(row["id"])

    def processes(self, driver: str | None = None) -> dict[int, str]:
        """Processes of a driver, or of every driver: pid and command line."""
        folder = self.data_dir / "drivers"
        place = str(folder / driver if driver else folder)
        tag = f"SPARKOWL_DRIVER={driver}\0".encode() if driver else None
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                here = str((entry / "cwd").readlink()).startswith(place)
                if here or place.encode() in environment or (tag and tag in environment):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace")
            except OSError:
                continue
        found.pop(self.process.pid, None)
        return found

    def part(self, driver: str, name: str) -> int:
        """The process id of the server, or of a driver's agent, kernel or JVM."""
        if name == "server":
            return self.process.pid
        words = {
            "agent": f"-m sparkowl.agent {driver}",
            "kernel": "sparkowl.agent.kernel",
            "jvm": "org.apache.spark.deploy.SparkSubmit",
        }
        return wait_for(
            lambda: next((p for p, c in self.processes(driver).items() if words[name] in c), 0),
            bool,
            10,
            every_s=0.01,
        )

    # --- the end -----------------------------------------------------------------------------

    def keep_evidence(self, folder: Path) -> None:
        """Logs and the database as they are, for somebody who looks later."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.log, folder)
        for file in self.data_dir.glob("sparkowl.db*"):
            shutil.copy(file, folder)
        for log in self.data_dir.glob("drivers/*/*.log"):
            shutil.copy(log, folder / f"{log.parent.name}-{log.name}")
        listing = sorted(str(path.relative_to(self.data_dir)) for path in self._small_tree())
        (folder / "files.txt").write_text("\n".join(listing) + "\n")
        lines = [f"{pid} {command}" for pid, command in sorted(self.processes().items())]
        (folder / "processes.txt").write_text("\n".join(lines) + "\n")

    def _small_tree(self) -> list[Path]:
        tree = [*self.data_dir.glob("drivers/*"), *self.data_dir.glob("staging/*")]
        return [*tree, *self.data_dir.glob("drivers/*/spool/*/*")]

    def close(self) -> None:
        """Leave nothing of it, however it is."""
        botocore.auth.get_current_datetime = _signing_now
        self.data_dir.chmod(0o700)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.proxy.close()
        while left := self.processes():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        if self.mounted:
            # Lazily: somebody's `ps` may look into it at this moment.
            subprocess.run(["umount", "--lazy", str(self.data_dir)], check=True)
        shutil.rmtree(self.folder)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


T = TypeVar("T")


def wait_for(
    look: Callable[[], T], good: Callable[[T], object], within_s: float, every_s: float = 0.02
) -> T:
    """Look until it is good; :class:`Broken` when it never is."""
    deadline = time.monotonic() + within_s
    while not good(seen := look()):
        if time.monotonic() > deadline:
            raise Broken(f"waited {within_s:g} s in vain: {seen!r}")
        time.sleep(every_s)
    return seen

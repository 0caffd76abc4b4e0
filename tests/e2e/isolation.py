"""Two sessions of one server, the victim's and the attacker's, and ways to see what one of them
can do to the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest
from tests import archives
from tests.e2e.conftest import Server, User, processes_of, running
from tests.proc import opened_by

from sparkowl.agent import confine

ROLE: Final = "arn:aws:iam::000000000000:role/"
#: System users that every Linux has, and a group number that is nobody's.
ATTACKER_USER, VICTIM_USER, GROUP = "nobody", "daemon", "60017"
#: What the victim keeps, wherever it keeps it.
SECRET: Final = "the-secret-of-the-victim"
#: Properties of both roles. A JVM that lives for minutes is better not compiled with care.
SPARK: Final = (
    "'spark.sql.shuffle.partitions' = '3', "
    "'spark.driver.extraJavaOptions' = '-XX:TieredStopAtLevel=1'"
)
#: Ways in which sessions are kept apart: (Landlock, a user of their own).
MODES: Final = {"landlock": (True, False), "user": (False, True), "both": (True, True)}
#: Files of the server outside its data directory, and one that was put aside.
ELSEWHERE: Final = ("sparkowl.toml", "audit.jsonl", "audit.jsonl.1")
#: Sees what an attempt comes to: its value, or the name of what it raised.
TRY: Final = """
import ctypes, os, signal, socket, subprocess, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
def attempt(act):
    try:
        return repr(act())
    except BaseException as error:
        return type(error).__name__
def call(number, *arguments):
    long = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number), *long) == -1:
        raise OSError(ctypes.get_errno(), 'refused')
    return 'done'
"""


@dataclass
class Session:
    """A session, and its driver as root sees it."""

    user: User
    id: str
    run_dir: Path

    def run(self, code: str) -> tuple[str, str]:
        """What a block writes to its two streams."""
        _, stdout, stderr = self.user.run(self.id, code)
        return stdout, stderr

    def attempt(self, expression: str) -> str:
        stdout, stderr = self.run(f"{TRY}\nprint(attempt(lambda: {expression}))")
        assert stderr == "", stderr
        return stdout.strip()

    def pid(self, part: str) -> int:
        words = {
            "agent": "-m sparkowl.agent ",
            "kernel": "sparkowl.agent.kernel",
            "jvm": "org.apache.spark.deploy.SparkSubmit",
        }
        [pid] = [p for p, command in processes_of(self.run_dir).items() if words[part] in command]
        return pid

    def ports(self) -> dict[int, int]:
        """Listening TCP ports of the driver, each with the process that listens."""
        owners: dict[str, int] = {}
        for pid in processes_of(self.run_dir):
            owners |= {str(what): pid for what in opened_by(pid)}
        found = {}
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                owner = owners.get(f"socket:[{fields[9]}]")
                if fields[3] == "0A" and owner is not None:
                    found[int(fields[1].rsplit(":", 1)[1], 16)] = owner
        return found


@dataclass
class World:
    mode: str
    server: Server
    victim: Session
    attacker: Session

    @property
    def landlock(self) -> bool:
        return MODES[self.mode][0]

    @property
    def buckets(self) -> Path:
        return self.server.data_dir / "buckets"


def why_not(mode: str) -> str | None:
    """Why this machine cannot have such a world."""
    landlock, user = MODES[mode]
    if landlock and confine.unavailable() is not None:
        return "this kernel has no Landlock"
    if user and os.geteuid() != 0:
        return "to run drivers as other users takes root"
    return None


def _may_run(python: Path) -> bool:
    """Whether a user that is not root can run what our environment holds with it."""
    try:
        done = subprocess.run(
            [python, "-P", "-c", "import sparkowl, pyspark, ipykernel"],
            cwd="/",
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def without(why: str) -> NoReturn:
    """Skip, but in CI fail: there nothing is skipped."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)


def open_python(folder: Path) -> Path:
    """An interpreter of our version that others may run: ours, or one made from the system's."""
    if os.geteuid() != 0 or _may_run(Path(sys.executable)):
        return Path(sys.executable)
    name = f"python3.{sys.version_info.minor}"
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        without(f"no other user may run {sys.executable}, and there is no {name} for all")
    made = folder / "python"
    subprocess.run([found, "-m", "venv", "--without-pip", made], check=True)
    ours = [path for path in sys.path if path.endswith(("site-packages", "/src"))]
    source = str(Path(confine.__file__).parents[2])
    [site] = made.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text("\n".join({source, *ours}) + "\n")
    if not _may_run(made / "bin" / "python"):
        without("no other user may read the packages of this environment")
    return made / "bin" / "python"


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others may pass through, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="sparkowl-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def settings(mode: str) -> str:
    """The settings file of such a server."""
    landlock, user = MODES[mode]
    lines = [
        "[pool]\nsize = 0",
        f"[driver]\ncores = 1\nheap = '512m'\nisolation = '{'auto' if landlock else 'none'}'",
        f"group = '{GROUP}'",
    ]
    for role, name in (("attacker", ATTACKER_USER), ("victim", VICTIM_USER)):
        lines.append(f"[roles.'{ROLE}{role}']")
        lines.append(f"environment = {{ ROLE_SECRET = '{SECRET if role == 'victim' else 'x'}' }}")
        lines.append(f"spark_properties = {{ {SPARK} }}")
        lines += [f"user = '{name}'"] if user else []
        if landlock and role == "attacker":
            lines.append("buckets = ['lake*', 'sparkowl-results']")
    return "\n".join(lines) + "\n"


@contextmanager
def world(mode: str) -> Iterator[World]:
    """A server with both sessions, idle."""
    reason = why_not(mode)
    if reason is not None:
        pytest.skip(reason)
    with open_folder() as folder:
        python = open_python(folder)
        (folder / "data").mkdir(mode=0o700)
        elsewhere = {name: folder / name for name in ELSEWHERE}
        for file in elsewhere.values():
            file.touch(mode=0o600)
        elsewhere["sparkowl.toml"].write_text(settings(mode))
        chosen = {
            "CACHE_DIR": str(archives.copied(folder)),
            "CONFIG": str(elsewhere["sparkowl.toml"]),
            "AUDIT__FILE": str(elsewhere["audit.jsonl"]),
        }
        program = (str(python), "-P", "-m", "sparkowl")
        with running(folder, program, **chosen) as server:
            yield _populate(mode, server)


def new_session(here: World, role: str) -> Session:
    """One more, for a test that spoils it."""
    return _session(here.server, here.victim.user, role)


def _populate(mode: str, server: Server) -> World:
    user = User(server.client("athena"), server.client("s3"))
    for bucket in ("lake", "vault"):
        user.s3.create_bucket(Bucket=bucket)
        user.s3.put_object(Bucket=bucket, Key="secret.txt", Body=SECRET.encode())
    victim, attacker = (_session(server, user, role) for role in ("victim", "attacker"))
    stdout, stderr = victim.run(
        "import os, pathlib, tempfile\n"
        f"secret = {SECRET!r}\n"
        "pathlib.Path('secret.txt').write_text(secret)\n"
        "pathlib.Path(tempfile.gettempdir(), 'secret.txt').write_text(secret)\n"
        "spark.range(1).selectExpr(f\"'{secret}' as s\").write.saveAsTable('secrets')\n"
        "spark.range(10).cache().count()\n"
        "print('ready')"
    )
    assert stdout == "ready\n", stderr
    return World(mode, server, victim, attacker)


def _session(server: Server, user: User, role: str) -> Session:
    drivers = server.data_dir / "drivers"
    before = set(drivers.iterdir()) if drivers.exists() else set()
    session = user.session(ExecutionRole=ROLE + role)
    [run_dir] = set(drivers.iterdir()) - before
    return Session(user, session, run_dir)

"""The driver's own folder: the name of every file in it, once.

``work``, ``tmp``, ``warehouse`` and ``kernel`` are the only places here that user code may write;
the rest is the agent's. Socket names are relative to this folder, which is why the agent and the
kernel both start in it: a Unix socket's path is limited to 107 bytes, a run directory's is not.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from sparkowl.agent.messages import RunAs
from sparkowl.agent.signs import JUPYTER

#: Relative on purpose: see above.
KERNEL_SOCKETS: Final = "kernel/k"
#: Of a file that user code may have put there instead of ours.
_LARGEST_BYTES: Final = 1 << 20


class Folder:
    """Paths in a driver's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: The user's directory: current directory of the kernel and of the JVM.
        self.work = root / "work"
        self.tmp = root / "tmp"
        #: Managed tables that were given no place of their own.
        self.warehouse = root / "warehouse"
        #: Sockets and connection files, written by the kernel and the JVM.
        self.kernel = root / "kernel"
        self.connection = self.kernel / "connection.json"
        self.gateway = self.kernel / "gateway"
        #: What the kernel may know about its session, written by the agent when it is adopted.
        self.session = self.kernel / "session.json"
        #: Outputs of calculations, before and while they are linked to where the server wants them.
        self.spool = root / "spool"
        #: Facts that the server has not acknowledged.
        self.outbox = root / "outbox"
        #: Written by the agent, read by the JVM.
        self.conf = root / "conf"
        self.spark_properties = self.conf / "spark.properties"
        self.java_arguments = self.conf / "java.args"
        self.jvm_log = root / "jvm.log"
        self.kernel_log = root / "kernel.log"
        #: The profile of AWS's tools, with the session's keys: written by the agent, read by all.
        self.aws = root / "aws"
        self.aws_credentials = self.aws / "credentials"
        self.aws_config = self.aws / "config"
        #: The Jupyter process' own; user code cannot even look into it.
        self.jupyter = root / JUPYTER
        self.jupyter_socket = self.jupyter / "s"
        self.jupyter_log = root / "jupyter.log"
        self.server_url = root / "server-url"
        #: On every path of modules from the start: a link to the packages of the session's
        #: workgroup, and to an empty folder until it has come.
        self.packages = root / "packages"
        self.no_packages = root / "no-packages"
        self.exit = root / "exit.json"
        self.lock = root / "lock"

    def make(self) -> None:
        inside = self.conf, self.aws, self.spool, self.outbox, self.no_packages
        for path in (*map(Path, self.writable), *inside):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.link_packages(self.no_packages)

    def link_packages(self, target: Path) -> None:
        """Let the driver's processes find the packages in ``target``, all at once."""
        aside = self.packages.with_suffix(".new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(target, target_is_directory=True)
        aside.replace(self.packages)

    def hold(self) -> bool:
        """Keep the folder as long as this process lives; False: another agent has it."""
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        return True

    def give(self, run_as: RunAs | None) -> None:
        """Let another user have what is the user code's, and pass through the folder to it.

        To be called when the configuration is complete and nothing of theirs runs yet.
        """
        if run_as is None:
            return
        os.chown(self.root, -1, run_as.gid)
        self.root.chmod(0o710)
        for path in (*map(Path, self.writable), self.conf, *self.conf.iterdir()):
            os.chown(path, run_as.uid, run_as.gid, follow_symlinks=False)
        # Only what is in it is the user's: it can be read, and nothing put beside it.
        os.chown(self.aws, -1, run_as.gid)
        self.aws.chmod(0o710)

    def make_jupyter(self, run_as: RunAs | None) -> None:
        """The folder that the Jupyter process starts in; what it finds there of an earlier one is
        not in its way."""
        self.jupyter.mkdir(mode=0o700, exist_ok=True)
        if run_as is not None:
            os.chown(self.jupyter, run_as.uid, run_as.gid)
        self.jupyter_socket.unlink(missing_ok=True)

    @property
    def readable(self) -> tuple[str, ...]:
        return str(self.conf), str(self.aws)

    @property
    def writable(self) -> tuple[str, ...]:
        return str(self.work), str(self.tmp), str(self.warehouse), str(self.kernel)


def read_plain(file: Path) -> bytes:
    """The content of a file in a place of the user's; OSError where it is not a plain file.

    User code may have planted a link there, or a pipe that would hang whoever opens it.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{file.name} is not a plain file")
        return opened.read(_LARGEST_BYTES)


def write_plain(file: Path, content: str, run_as: RunAs | None) -> None:
    """Put a file into a place of the user's: by a rename, which replaces a link, not follows it."""
    aside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(aside, flags, 0o600), "w") as opened:
            opened.write(content)
            if run_as is not None:
                os.fchown(opened.fileno(), run_as.uid, run_as.gid)
        aside.replace(file)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise

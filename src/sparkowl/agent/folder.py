"""The driver's own folder: the name of every file in it, once.

``work``, ``tmp``, ``warehouse`` and ``kernel`` are the only places here that user code may write;
the rest is the agent's. Socket names are relative to this folder, which is why the agent and the
kernel both start in it: a Unix socket's path is limited to 107 bytes, a run directory's is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Relative on purpose: see above.
KERNEL_SOCKETS: Final = "kernel/k"


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
        self.server_url = root / "server-url"
        self.exit = root / "exit.json"

    def make(self) -> None:
        for path in (*map(Path, self.writable), self.conf, self.spool, self.outbox):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def readable(self) -> tuple[str, ...]:
        return (str(self.conf),)

    @property
    def writable(self) -> tuple[str, ...]:
        return str(self.work), str(self.tmp), str(self.warehouse), str(self.kernel)

"""The files of the catalogue's folder, once: ``<data directory>/catalog``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: What its processes carry as their tag (:mod:`sparkowl.agent.signs`).
TAG: Final = "catalog"


class Files:
    """Paths in the catalogue's folder. ``metastore`` is the JVM's, the rest the keeper's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: The port that sessions are told, in digits. It never changes: drivers may outlive us.
        self.port = root / "port"
        #: Held by whoever listens on the port, and by the JVM.
        self.lock = root / "lock"
        #: Unix socket of the keeper's, for servers (:mod:`.control`).
        self.control = root / "control"
        #: What its orders must begin with.
        self.word = root / "word"
        self.keeper_log = root / "keeper.log"
        self.jvm_log = root / "jvm.log"
        #: The JVM's current directory, and all it may write to besides the buckets.
        self.metastore = root / "metastore"
        #: The embedded database.
        self.derby = self.metastore / "derby"
        self.tmp = self.metastore / "tmp"
        self.gateway = self.metastore / "gateway"
        #: Unix socket that the JVM dials.
        self.socket = self.metastore / "s"

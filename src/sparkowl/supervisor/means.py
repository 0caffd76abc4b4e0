"""What the supervisor works with, and what sessions and the warm pool both do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from sparkowl.clock import Clock
from sparkowl.domain.ids import ServerId, SessionId
from sparkowl.domain.limits import Limits
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.sparks import Sparks
from sparkowl.domain.step import Patience
from sparkowl.launchers.base import Launcher
from sparkowl.objects.download import Download
from sparkowl.objects.files import Files
from sparkowl.store import Store, drivers, load
from sparkowl.supervisor.links import Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the supervisor works with."""

    store: Store
    #: This server. It acts only on what is its own by the row.
    server: ServerId
    clock: Clock
    launcher: Launcher
    links: Links
    files: Files
    #: Fetches the files of NotebookFileURI from the web.
    download: Download
    patience: Patience
    sparks: Sparks
    #: A driver that does not end by itself is killed after this long.
    stop_grace_s: float
    #: Drivers that may be starting at once: starts share the processors.
    starts_at_once: int
    limits: Limits
    #: Warm drivers have a Jupyter process ready.
    jupyter_ahead: bool = False
    #: Databases that name no location land where the session's outputs do: others see them, too.
    shared_catalog: bool = False
    #: What execution roles map to.
    roles: Roles = field(default_factory=Roles)
    #: Workgroups whose budget is used up: what waits there has no turn. The budgets' looks fill it.
    spent: set[str] = field(default_factory=set)

    def next_in_line(self, tx: Connection) -> SessionId | None:
        """The waiting session that has the next driver: a warm one, or one of its own."""
        line = [waiting for waiting in load.waiting(tx) if waiting.work_group not in self.spent]
        return self.limits.next_in_line(line, load.in_use(tx, placed_only=True))

    def may_launch(self, tx: Connection) -> bool:
        """Whether the host has room for one more driver that starts."""
        starting = drivers.count_starting(tx)
        return starting < self.starts_at_once and self.launcher.room(starting) is None


def bucket_folders(files: Files, role: Role | None = None) -> Mapping[str, str]:
    """Each bucket that the role may see, and its folder."""
    return {
        name: str(folder)
        for name, folder in files.buckets().items()
        if role is None or role.sees(name)
    }

"""What the supervisor works with, and what sessions and the warm pool both do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from sparkowl.clock import Clock
from sparkowl.domain.ids import ServerId, SessionId
from sparkowl.domain.limits import Limits
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.session import Session
from sparkowl.domain.sparks import Sparks
from sparkowl.domain.step import Patience
from sparkowl.launchers.base import Launcher
from sparkowl.launchers.jars import Jars
from sparkowl.launchers.packages import Packages
from sparkowl.objects.download import Download
from sparkowl.objects.files import Files
from sparkowl.objects.storage import Storage
from sparkowl.store import Store, drivers, load
from sparkowl.supervisor.links import Links
from sparkowl.supervisor.unsent import Unsent


class KeysRefused(Exception):
    """The session cannot have keys. The text is for its user."""


class KeysAway(Exception):
    """Whoever gives keys does not answer, and may later."""


class SessionKeys(Protocol):
    """Where the keys come from that a session's own code signs with."""

    async def of(self, session: Session) -> Mapping[str, str]:
        """As in a profile of AWS's: ``aws_access_key_id``, ``aws_secret_access_key``, and
        ``aws_session_token`` where they are temporary ones. Empty: the session has none.

        Asked at each adoption, and at each look at the session: keys that would end soon are
        replaced. Raises :class:`KeysRefused` and :class:`KeysAway`.
        """
        ...


class NoKeys:
    """Sessions have none."""

    async def of(self, session: Session) -> Mapping[str, str]:
        return {}


_: type[SessionKeys] = NoKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the supervisor works with."""

    store: Store
    #: This server. It acts only on what is its own by the row.
    server: ServerId
    clock: Clock
    launcher: Launcher
    links: Links
    storage: Storage
    #: The buckets as folders, which drivers mount; None: they are in a service.
    files: Files | None
    #: Fetches the files of NotebookFileURI from the web.
    download: Download
    patience: Patience
    sparks: Sparks
    #: A driver that does not end by itself is killed after this long.
    stop_grace_s: float
    #: Drivers that may be starting at once: starts share the processors.
    starts_at_once: int
    limits: Limits
    packages: Packages
    #: Jars that drivers are launched with.
    jars: Jars
    #: Warm drivers have a Jupyter process ready.
    jupyter_ahead: bool = False
    #: What sessions sign with.
    session_keys: SessionKeys = field(default_factory=NoKeys)
    #: Outputs that a service did not take when their driver ended; None: objects are in folders.
    unsent: Unsent | None = None
    #: Databases that name no location land where the session's outputs do: others see them, too.
    shared_catalog: bool = False
    #: What execution roles map to.
    roles: Roles = field(default_factory=Roles)
    #: Workgroups whose budget is used up: what waits there has no turn. The budgets' looks fill it.
    spent: set[str] = field(default_factory=set)
    #: Sessions whose packages are there: without them nobody of such a workgroup has a turn, so
    #: that a build holds nobody else up. What another server has is not known here.
    prepared: set[SessionId] = field(default_factory=set)

    def next_in_line(self, tx: Connection) -> SessionId | None:
        """The waiting session that has the next driver: a warm one, or one of its own."""
        line = [
            waiting
            for waiting in load.waiting(tx)
            if waiting.work_group not in self.spent
            and (
                waiting.session_id in self.prepared
                or waiting.work_group not in self.packages.work_groups
            )
        ]
        return self.limits.next_in_line(line, load.in_use(tx, placed_only=True))

    def may_launch(self, tx: Connection) -> bool:
        """Whether the host has room for one more driver that starts."""
        starting = drivers.count_starting(tx)
        return starting < self.starts_at_once and self.launcher.room(starting) is None


def bucket_folders(files: Files | None, role: Role | None = None) -> Mapping[str, str]:
    """Each bucket that the role may see, and its folder. Those of a service have none."""
    if files is None:
        return {}
    return {
        name: str(folder)
        for name, folder in files.buckets().items()
        if role is None or role.sees(name)
    }

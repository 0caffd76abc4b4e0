"""The contract of a launcher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sparkowl.domain.ids import DriverId
from sparkowl.domain.role import Role

#: The name of a Unix socket. Its folder's path may be longer than a socket's may be, so it is
#: reached through a descriptor of the folder.
JUPYTER_SOCKET: Final = "s"


class LaunchError(Exception):
    """The driver could not be started; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What to launch. Where and how is the launcher's own business."""

    driver_id: DriverId
    #: The session's engine, which may run in an environment of its own. None: in the server's own,
    #: as the warm pool's drivers do.
    engine_version: str | None
    #: Bearer token of the driver's link.
    token: str
    #: Spark properties of the session, on top of the launcher's own.
    properties: Mapping[str, str]
    #: Bucket name to folder.
    buckets: Mapping[str, str]
    #: The driver is for the warm pool: let it run a small query before it reports ready.
    warm: bool
    #: What the session's ExecutionRole maps to; None: to nothing.
    role: Role | None = None
    #: Have a Jupyter process ready for the session.
    jupyter: bool = False
    #: Bearer token of the session's Jupyter server.
    jupyter_token: str = ""
    #: Jars of table formats and the like that the session asked for.
    class_path: tuple[str, ...] = ()
    #: Where a catalogue keeps its tables that has no metastore: ``s3://bucket/prefix``.
    warehouse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What keeps the user code of drivers from the server's files, and from each other's."""

    #: In words, for people.
    in_force: str
    #: Why nothing does; None: something does.
    missing: str | None
    #: Whether a bucket can be kept from a role also where its folder is named by path.
    guards_paths: bool
    #: What users of the settings cannot reach and must, in sentences.
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a look at a driver showed."""

    alive: bool
    #: How it ended, in a sentence, where that can be known.
    ended: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a driver that has ended left behind, to be taken before it is cleared away.

    An agent wrote it, perhaps while no server was there; but user code may have had its hands in
    it, so it is no more to be trusted than what comes over a link.
    """

    #: Frames of facts that no server acknowledged, in the order in which they happened.
    facts: Sequence[str] = ()
    #: Calculations of which outputs are left: they were not stored, or not completely.
    calculations: Sequence[str] = ()


#: Takes what is left of a driver.
Take = Callable[[], Awaitable[None]]


class Launcher(Protocol):
    """Verbs on one driver each.

    A handle is an opaque text that the store keeps. It stays valid over a restart of the server.
    """

    def room(self, starting: int) -> str | None:
        """What is lacking for another driver beside ``starting`` that have not taken theirs yet.

        None: there is room. Quick enough to be asked within a transaction.
        """

    async def isolation(self) -> Isolation:
        """What drivers that are launched from now on are kept from, on this machine."""
        ...

    async def launch(self, spec: LaunchSpec) -> str:
        """Start the driver and return its handle. Raises :class:`LaunchError`."""
        ...

    async def find(self, driver_id: DriverId) -> str | None:
        """The handle of a driver that was launched, perhaps by an earlier server; None: no such.

        A driver that is found is told where the server is.
        """
        ...

    async def find_all(self, driver_ids: Collection[DriverId]) -> Mapping[DriverId, str]:
        """:meth:`find` for many at once, in the time of one; those that are not there are left
        out."""
        ...

    async def observe(self, handle: str) -> Observation:
        """Look at the driver. One that is gone is an observation, not an error."""
        ...

    async def left(self, handle: str) -> Left:
        """What a driver that has ended left. Of one that was stopped: nothing."""
        ...

    async def left_outputs(self, handle: str, calculation_id: str) -> Mapping[str, bytes]:
        """What is left of a calculation's outputs, by name."""
        ...

    def jupyter(self, handle: str) -> Path:
        """The folder in which the session's Jupyter server has its socket, :data:`JUPYTER_SOCKET`.

        Known by the launcher alone, whatever the driver says. It may not listen yet.
        """
        ...

    async def stop(self, handle: str, *, grace_s: float, take: Take | None = None) -> None:
        """End the driver and everything it started, by force after ``grace_s``.

        When this returns nothing of it is left: no process, no folder. Stopping what is gone
        already is a success and clears what it left behind. ``take`` is called in between, when
        no process of it lives and before what it left is cleared; what it raises stops the
        clearing.
        """
        ...

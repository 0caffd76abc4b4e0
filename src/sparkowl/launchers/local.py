"""Drivers as processes of this machine."""

from __future__ import annotations

import asyncio
import glob
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import signs
from sparkowl.agent.messages import Confinement, DriverSpec, RunAs
from sparkowl.domain import formats
from sparkowl.domain.ids import DriverId
from sparkowl.domain.role import Role
from sparkowl.domain.service import Service
from sparkowl.launchers import groups, host, jars, postmortem, processes, remains, s3a
from sparkowl.launchers.base import (
    Isolation,
    Launcher,
    LaunchError,
    LaunchSpec,
    Left,
    Observation,
    Take,
)
from sparkowl.launchers.postmortem import Keep
from sparkowl.launchers.users import Users

log = logging.getLogger(__name__)

#: Of user code: what it writes is for its own user, or for the group of the buckets.
_UMASK: Final = 0o077
_SHARED_UMASK: Final = 0o007

#: A killed process is gone at once, unless the kernel holds it in a system call.
_KILLED_S: Final = 1.0

#: Iceberg locks a table in the metastore while it commits, in tables that Hive makes by its own
#: tools only. Hive 2.3.10 compares and swaps (HIVE-26882), and then no lock is needed.
_OWN_METASTORE: Final = {"spark.hadoop.iceberg.engine.hive.lock-enabled": "false"}

#: Beside the limit of an output: an error's text, what says that it was cut, JSON's own characters.
_BESIDE_OUTPUT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What every local driver has in common."""

    #: Folder of the drivers' own folders.
    drivers_dir: Path
    #: Root of the buckets' folders; drivers may write there. None: buckets are in a service.
    buckets_dir: Path | None
    #: The server's folder, which drivers must not see.
    data_dir: Path
    #: Files of the server elsewhere, which they must not see either; nor what has been put aside of
    #: them, under a name that begins alike.
    hidden: tuple[Path, ...]
    #: Class-data archives.
    cache_dir: Path
    #: The Python that runs an engine, by the engine's name; a name that is missing runs in ours.
    pythons: Mapping[str, str]
    java_home: str | None
    heap: str
    cores: int
    #: Bytes that must be free for a driver to be started.
    memory_needed: int
    disk_needed: int
    output_limit_bytes: int
    away_idle_s: float
    away_busy_s: float
    #: False: user code may touch whatever this POSIX user may.
    confine: bool
    #: Further folders that user code may write to.
    writable: tuple[str, ...]
    #: Bytes of memory that a driver's processes may use together; 0: no limit.
    memory_limit: int = 0
    #: Whom drivers run as where their role names nobody; None: the server's own user.
    user: str | None = None
    #: Every user that drivers run as; None: all run as the server's.
    users: Users | None = None
    #: What AWS's tools in sessions are told, but for where this server is: as in
    #: :attr:`~sparkowl.agent.messages.DriverSpec.aws`.
    aws: Mapping[str, str] = field(default_factory=dict)
    #: What is kept of drivers that have ended; None: nothing.
    keep: Keep | None = None
    #: Properties that say where databases and tables are known; empty: in each session alone.
    catalog: Mapping[str, str] = field(default_factory=dict)
    #: Jars that these take.
    catalog_jars: tuple[str, ...] = ()
    #: The S3 service that has the buckets; None: they are folders.
    s3: Service | None = None
    #: Spark's version by engine, where an engine has an environment of its own.
    sparks: Mapping[str, str] = field(default_factory=dict)
    #: The operator has Glue's catalogue, and the jars for it.
    glue: bool = False
    #: The metastore is the server's own.
    own_metastore: bool = False
    #: As in :attr:`~sparkowl.agent.messages.DriverSpec.upload_for_s`.
    upload_for_s: float = 0.0

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder of all buckets, if they are folders."""
        return () if self.buckets_dir is None else (str(self.buckets_dir),)


class LocalLauncher:
    """Starts ``python -m sparkowl.agent`` in a process group of its own.

    The agent outlives a server that dies; a handle names its process by pid and start time.
    """

    def __init__(
        self,
        settings: LocalSettings,
        server_url: Callable[[], str],
        control: groups.Groups | None = None,
    ) -> None:
        self._settings = settings
        self._server_url = server_url
        self._groups = control or groups.Groups(groups.delegated())
        #: Our own children: their exit codes are ours to collect.
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def room(self, starting: int) -> str | None:
        settings = self._settings
        return host.lacks(
            settings.drivers_dir,
            memory=(starting + 1) * settings.memory_needed,
            disk=settings.disk_needed,
        )

    async def isolation(self) -> Isolation:
        """Asked of the agent, in a process of its own: only it knows what it can put in force."""
        settings = self._settings
        users = settings.users.by_name.values() if settings.users else ()
        asked = {
            "users": [asdict(user) for user in {user.uid: user for user in users}.values()],
            "pythons": sorted({sys.executable, *settings.pythons.values()}),
            "java_home": settings.java_home,
            "confine": settings.confine,
            "folders": [str(settings.drivers_dir), *settings.roots],
        }
        prober = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sparkowl.agent.isolation"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        said, _ = await prober.communicate(json.dumps(asked).encode())
        return _isolation(settings, json.loads(said))

    async def launch(self, spec: LaunchSpec) -> str:
        return await asyncio.to_thread(self._launch, spec)

    def _launch(self, spec: LaunchSpec) -> str:
        run_dir = self._run_dir(spec.driver_id)
        try:
            for folder in (run_dir, run_dir / "work", run_dir / "tmp"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._announce(spec.driver_id)
            child = self._spawn(spec, run_dir)
        except OSError as error:
            self._groups.remove(spec.driver_id)
            shutil.rmtree(run_dir, ignore_errors=True)
            raise LaunchError(f"The Spark driver could not be started: {error}.") from error
        self._children[child.pid] = child
        return _handle(spec.driver_id, child.pid)

    def _spawn(self, spec: LaunchSpec, run_dir: Path) -> subprocess.Popen[bytes]:
        with (run_dir / "agent.log").open("ab") as log:
            child = subprocess.Popen(
                [self._python(spec), "-m", "sparkowl.agent", spec.driver_id],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=run_dir,
                env=_environment(spec.driver_id, run_dir),
                start_new_session=True,
            )
        assert child.stdin is not None
        with child.stdin:
            child.stdin.write(self._driver_spec(spec, run_dir).to_json().encode())
        return child

    def _python(self, spec: LaunchSpec) -> str:
        return self._settings.pythons.get(spec.engine_version or "", sys.executable)

    def _driver_spec(self, spec: LaunchSpec, run_dir: Path) -> DriverSpec:
        settings = self._settings
        role = spec.role or Role()
        group = self._groups.make(spec.driver_id, settings.memory_limit)
        # Buckets that are made later are reached through their root, by those who may see all.
        buckets = settings.roots if role.buckets is None else tuple(spec.buckets.values())
        confinement = Confinement(
            hidden=(str(settings.data_dir), *map(str, _with_older(settings.hidden))),
            # Of the jars no more than themselves: what lies beside them may be anything.
            readable=(str(settings.cache_dir), *spec.class_path, *settings.catalog_jars),
            writable=(str(run_dir), *buckets, *settings.writable),
        )
        return DriverSpec(
            driver_id=spec.driver_id,
            token=spec.token,
            run_dir=str(run_dir),
            cache_dir=str(settings.cache_dir),
            java_home=settings.java_home,
            heap=settings.heap,
            properties=self._properties(spec, role, run_dir),
            buckets=spec.buckets,
            warm=spec.warm,
            output_limit_bytes=settings.output_limit_bytes,
            away_idle_s=settings.away_idle_s,
            away_busy_s=settings.away_busy_s,
            confinement=confinement if settings.confine else None,
            run_as=self._user(role),
            environment=role.environment,
            memory_limit_bytes=settings.memory_limit,
            control_group=None if group is None else str(group),
            umask=_UMASK if settings.users is None else _SHARED_UMASK,
            jupyter=spec.jupyter,
            jupyter_token=spec.jupyter_token,
            class_path=(*spec.class_path, *settings.catalog_jars),
            aws={**settings.aws, "endpoint_url": self._server_url().replace("ws", "http", 1)},
            upload_for_s=settings.upload_for_s,
        )

    def _properties(self, spec: LaunchSpec, role: Role, run_dir: Path) -> dict[str, str]:
        settings = self._settings
        asked = (
            driver_properties(settings, run_dir)
            | self._storage(spec)
            | (_OWN_METASTORE if settings.own_metastore else {})
            | dict(spec.properties)
            | dict(role.spark_properties)
        )
        return formats.adapted(asked, warehouse=spec.warehouse, glue=settings.glue)

    def _storage(self, spec: LaunchSpec) -> dict[str, str]:
        """How Spark reaches real S3; how it reaches folders is the agent's, but for Delta's log."""
        settings = self._settings
        if settings.s3 is None:
            has_log = any(Path(jar).name == jars.COMPILED for jar in spec.class_path)
            stores = [f"spark.delta.logStore.{scheme}.impl" for scheme in s3a.SCHEMES]
            return dict.fromkeys(stores, jars.DELTA_LOG) if has_log else {}
        spark = settings.sparks.get(spec.engine_version or "") or jars.own_spark()
        return s3a.spark_properties(settings.s3, spark)

    def _user(self, role: Role) -> RunAs | None:
        name = role.user or self._settings.user
        if name is None:
            return None
        assert self._settings.users is not None
        return self._settings.users.by_name[name]

    async def find(self, driver_id: DriverId) -> str | None:
        return (await self.find_all([driver_id])).get(driver_id)

    async def find_all(self, driver_ids: Collection[DriverId]) -> Mapping[DriverId, str]:
        """Found by their tags; told where the server is now, as its port may have changed."""
        return await asyncio.to_thread(self._find_all, driver_ids) if driver_ids else {}

    def _find_all(self, driver_ids: Collection[DriverId]) -> Mapping[DriverId, str]:
        folders = {str(one): self._run_dir(one) for one in driver_ids}
        found = {}
        for driver_id, pids in processes.of_drivers(folders).items():
            for pid in pids:
                if _is_agent(pid, driver_id):
                    # Without its folder it cannot be told, and ends when nobody welcomes it.
                    with suppress(FileNotFoundError):
                        self._announce(driver_id)
                    found[DriverId(driver_id)] = _handle(driver_id, pid)
        return found

    async def observe(self, handle: str) -> Observation:
        place = json.loads(handle)
        child = self._children.get(place["pid"])
        if child is not None:
            # /proc says zombie as soon as the first of its threads is gone, and how it ended only
            # the last one leaves behind.
            code = child.poll()
            return Observation(
                alive=code is None, ended=None if code is None else _exit_sentence(code)
            )
        return Observation(
            alive=processes.started_at(place["pid"]) == place["started_at"]
            # The handle may have come with a copied database: then the process is the original's.
            and processes.belongs(place["pid"], self._run_dir(place["driver_id"]))
        )

    async def left(self, handle: str) -> Left:
        where = self._settings.drivers_dir, json.loads(handle)["driver_id"]
        return Left(
            facts=tuple(await asyncio.to_thread(remains.facts, *where)),
            calculations=tuple(await asyncio.to_thread(remains.calculations, *where)),
        )

    async def left_outputs(self, handle: str, calculation_id: str) -> Mapping[str, bytes]:
        return await asyncio.to_thread(
            remains.outputs,
            self._settings.drivers_dir,
            json.loads(handle)["driver_id"],
            calculation_id,
            self._settings.output_limit_bytes + _BESIDE_OUTPUT_BYTES,
        )

    def jupyter(self, handle: str) -> Path:
        return self._run_dir(json.loads(handle)["driver_id"]) / signs.JUPYTER

    async def stop(self, handle: str, *, grace_s: float, take: Take | None = None) -> None:
        place = json.loads(handle)
        if (await self.observe(handle)).alive:
            processes.kill([place["pid"]], signal.SIGTERM)
            await processes.ended(place["pid"], grace_s)
        # All at once where there is a group; else user code may fork while we look, so look until
        # nothing is left.
        await asyncio.to_thread(self._groups.remove, place["driver_id"])
        while left := await self._processes(place["driver_id"]):
            processes.kill(left)
            for pid in left:
                await processes.ended(pid, _KILLED_S)
        child = self._children.get(place["pid"])
        if child is not None:
            await asyncio.to_thread(child.wait)
        if take is not None:
            await take()
        await asyncio.to_thread(
            self._clear, place["driver_id"], None if child is None else child.returncode
        )
        self._children.pop(place["pid"], None)

    def _clear(self, driver_id: str, code: int | None) -> None:
        """Delete the driver's folder; what a post-mortem needs is put aside first.

        OSError while the folder of all drivers is out of reach: then it is not done.
        """
        run_dir, rule = self._run_dir(driver_id), self._settings.keep
        with suppress(FileNotFoundError):
            run_dir.lstat()
        if rule is not None:
            end = {
                "ended_at": datetime.now(UTC).isoformat(),
                "agent_exit_code": code,
                "agent": None if code is None else _exit_sentence(code),
            }
            try:
                postmortem.keep(run_dir, driver_id, end, rule)
            except OSError as error:  # a full disk must not keep the driver from its end
                log.warning("nothing kept", extra={"driver": driver_id, "why": str(error)})
        shutil.rmtree(run_dir, ignore_errors=True)
        # What user code made undeletable stays; but not what was out of reach for a moment.
        with suppress(FileNotFoundError):
            run_dir.lstat()
            shutil.rmtree(run_dir, ignore_errors=True)

    async def _processes(self, driver_id: str) -> list[int]:
        return await asyncio.to_thread(processes.of_driver, driver_id, self._run_dir(driver_id))

    def _run_dir(self, driver_id: str) -> Path:
        return self._settings.drivers_dir / driver_id

    def _announce(self, driver_id: str) -> None:
        """Write where the agent finds the server; atomically, as it may be reading."""
        target = self._run_dir(driver_id) / "server-url"
        aside = target.with_suffix(".new")
        aside.write_text(self._server_url())
        aside.replace(target)


def driver_properties(settings: LocalSettings, run_dir: Path) -> dict[str, str]:
    """The Spark properties of a local driver that no session may change."""
    return {
        "spark.master": f"local[{settings.cores}]",
        "spark.app.name": "sparkowl",
        "spark.driver.memory": settings.heap,
        # Ports of a driver are for its own processes: loopback, and with a secret that Spark makes.
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.authenticate": "true",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(run_dir / "tmp"),
        # Where spark.jars.packages keeps what it fetches; by itself Java asks the password file for
        # a home, which user code must not write to.
        "spark.jars.ivy": str(run_dir / "tmp" / "ivy"),
        "spark.sql.warehouse.dir": (run_dir / "warehouse").as_uri(),
        **settings.catalog,
    } | (
        # Hadoop has a umask of its own, and gives each file a mode by it.
        {"spark.hadoop.fs.permissions.umask-mode": f"{_SHARED_UMASK:03o}"}
        if settings.users is not None
        else {}
    )


def _with_older(files: Iterable[Path]) -> Iterator[Path]:
    """Files, there or not, and their older versions: ``audit.jsonl.1``, ``sparkowl.toml~``."""
    for file in files:
        yield file
        yield from file.parent.glob(f"{glob.escape(file.name)}?*")


def _isolation(settings: LocalSettings, found: Mapping[str, Any]) -> Isolation:
    landlock, missing = found["landlock"], found["missing"]
    words = [landlock] if landlock else []
    if settings.users is not None:
        names = ", ".join(sorted(user.name for user in settings.users.by_name.values()))
        words.append(f"drivers run as {names}" if settings.user else f"some roles run as {names}")
    if landlock is None:
        words.append(f"no Landlock: {missing}")
    if found["signals"]:
        words.append(found["signals"])
    return Isolation(
        in_force="; ".join(words),
        missing=missing if landlock is None and settings.user is None else None,
        guards_paths=landlock is not None,
        problems=tuple(problem for problem in found["users"].values() if problem is not None),
    )


def _environment(driver_id: str, run_dir: Path) -> dict[str, str]:
    """Nothing of the server's environment but what finding programs and Java takes."""
    passed = ("PATH", "LANG", "LC_ALL", "TZ", "JAVA_HOME")
    environment = {name: os.environ[name] for name in passed if name in os.environ}
    return environment | {
        **signs.variables(driver_id, run_dir),
        "HOME": str(run_dir / "work"),
    }


def _handle(driver_id: str, pid: int) -> str:
    place = {"v": 1, "driver_id": driver_id, "pid": pid, "started_at": processes.started_at(pid)}
    return json.dumps(place)


def _is_agent(pid: int, driver_id: str) -> bool:
    """The agent names its driver on the command line; its children do not."""
    try:
        arguments = (processes.PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[1:4] == [b"-m", b"sparkowl.agent", driver_id.encode()]


def _exit_sentence(code: int) -> str:
    if code < 0:
        return f"The driver's agent was killed by signal {-code}."
    return f"The driver's agent exited with status {code}."


_: type[Launcher] = LocalLauncher

"""What a keeper is told, as JSON on its standard input: never in argv or the environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sparkowl import __version__
from sparkowl.agent.messages import Confinement, RunAs


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A PostgreSQL database instead of the embedded one."""

    #: As JDBC spells it: ``jdbc:postgresql://host:5432/name``.
    url: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSpec:
    #: The catalogue's folder.
    folder: str
    #: Where class-data archives are kept.
    cache_dir: str
    java_home: str | None
    #: The JVM's maximum heap, in Java's notation.
    heap: str
    #: POSIX users who may ask the catalogue.
    uids: tuple[int, ...]
    #: Root of the buckets' folders, which become ``s3://`` for the JVM; None: ``properties`` say
    #: how ``s3://`` is reached, and ``class_path`` brings what that takes.
    buckets_dir: str | None
    #: Where the tables of the database ``default`` land.
    warehouse: str
    #: None: an embedded one, Derby.
    database: Database | None = None
    #: Further properties of Hadoop's and Hive's. They may hold secrets.
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Jars behind Spark's own.
    class_path: tuple[str, ...] = ()
    #: None: no confinement.
    confinement: Confinement | None = None
    #: Whom the JVM runs as; None: the keeper's own user.
    run_as: RunAs | None = None
    umask: int = 0o077
    #: The keeper ends itself when every server stays away this long and no session is connected...
    away_idle_s: float
    #: ...and this long while one is.
    away_busy_s: float
    #: Whose code it runs: an upgrade that drivers outlive brings another keeper.
    version: str = __version__

    @property
    def digest(self) -> str:
        """Two keepers with the same do the same."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> KeeperSpec:
        values = json.loads(text)
        for name in ("uids", "class_path"):
            values[name] = tuple(values[name])
        if values["database"] is not None:
            values["database"] = Database(**values["database"])
        if values["confinement"] is not None:
            values["confinement"] = Confinement(
                **{name: tuple(paths) for name, paths in values["confinement"].items()}
            )
        if values["run_as"] is not None:
            groups = tuple(values["run_as"].pop("groups"))
            values["run_as"] = RunAs(groups=groups, **values["run_as"])
        return cls(**values)

"""Settings of drivers: how they run, what roles map to, which wait warm, which Sparks there are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, field_validator

from sparkowl.config.section import Positive, Section

#: What Java's letters stand for, as powers of two.
_SHIFTS: Final = {"k": 10, "m": 20, "g": 30}
#: The JVM's own needs (some 400 MiB), the kernel with pandas, and room for data in Python.
_BESIDE_THE_HEAP: Final = 2 << 30


class DriverSection(Section):
    heap: str = "1g"
    """Maximum heap of a driver's JVM, in Java's notation."""

    cores: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Tasks that a session runs at once; all the machine's processors by default."""

    java_home: str | None = None
    """Java 17 or 21 to use. Unset: JAVA_HOME, then java on the PATH, then the one in the
    dependencies."""

    isolation: Literal["auto", "none"] = "auto"
    """``auto``: user code may write only to its own folders, the buckets and /tmp, and may not read
    the server's files (Landlock, Linux 5.19 and newer). ``none``: no such limits."""

    writable: tuple[str, ...] = ()
    """Further folders that user code may write to."""

    memory_needed_mb: int = Field(640, ge=0)
    """MiB of memory that must be available for a driver to be started (an idle one takes some
    530). Without them StartSession says that capacity is not available, or queues."""

    disk_needed_mb: int = Field(256, ge=0)
    """MiB that must be free on the data directory's disk for a driver to be started."""
    user: str | None = Field(None, min_length=1)
    """POSIX user that kernels and JVMs run as, where a role names no other. Unset: the server's own
    user. The server must run as root for it."""

    group: str | None = Field(None, min_length=1)
    """Group (name or number) that the buckets' files belong to while some user is named. Unset: the
    user's own group, where there is one user and the group is nobody else's."""

    output_limit_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    """Stdout and stderr of a calculation are each cut after this many bytes."""

    start_timeout_s: Positive = 180
    """A driver that is not ready by then is given up."""

    memory_limit_mb: int | None = Field(None, ge=0)
    """MiB of memory that a session's kernel, JVM and all that they start may use together; over it
    the session ends. Unset: the heap and 2048 more. 0: no limit."""

    starts_at_once: int = Field(2, ge=1)
    """Drivers that may be starting at once; further sessions wait in CREATING."""

    stop_grace_s: Positive = 5
    """A driver that is asked to end is killed after this long."""

    postmortems: int = Field(200, ge=0)
    """Drivers that have ended of which logs and exit codes are kept, for `sparkowl sessions
    diagnose`. The oldest go first. 0: nothing is kept."""

    postmortems_mb: int = Field(64, ge=1)
    """MiB that all of that may take."""

    silent_after_s: Positive = 20
    """A session whose agent has lost its link this long is DEGRADED."""

    lost_after_s: Positive = 120
    """A driver whose agent has lost its link this long is given up."""

    cancel_timeout_s: Positive = 60
    """A block that was asked to stop and has not ended by then costs the session its driver. The
    agent itself kills the kernel after 20 seconds."""

    away_idle_s: Positive = 15 * 60
    """An agent ends itself when the server stays away this long while nothing runs..."""

    away_busy_s: Positive = 12 * 3600
    """...and this long while a calculation runs."""

    @property
    def memory_limit_bytes(self) -> int:
        """The limit of a driver in bytes; 0: none."""
        if self.memory_limit_mb is not None:
            return self.memory_limit_mb << 20
        return (int(self.heap[:-1]) << _SHIFTS[self.heap[-1].lower()]) + _BESIDE_THE_HEAP

    @field_validator("heap")
    @classmethod
    def _heap(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]*[kmgKMG]", value):
            raise ValueError("must be a number with k, m or g, such as 1g")
        return value


#: Variables that change how programs are found or loaded, or that a driver sets for itself.
_NOT_FOR_ROLES: Final = re.compile(
    r"PATH|HOME|TMPDIR|TMP|TEMP|SHELL|IFS|ENV|BASH_.*|CDPATH|CLASSPATH|LD_.*|DYLD_.*|MALLOC_.*"
    r"|GLIBC_.*|GCONV_PATH|LOCPATH|NLSPATH|NODE_.*|PERL.*|_?PYTHON.*|_?PYSPARK.*|IPYTHON.*"
    r"|JUPYTER.*|MPL.*|_?JAVA.*|JDK_.*|_?SPARK.*|HADOOP.*|HIVE_.*|SPARKOWL.*"
)
#: What keeps a driver's ports closed is no role's to change.
_PINNED_PROPERTIES: Final = frozenset(
    ("spark.authenticate", "spark.driver.host", "spark.driver.bindAddress")
)


class RoleSection(Section):
    user: str | None = Field(None, min_length=1)
    """POSIX user that the kernel and the JVM run as. Unset: ``driver.user``."""

    environment: dict[str, str] = Field({})
    """Variables for the kernel and the JVM. None that changes how programs are found or loaded."""

    spark_properties: dict[str, str] = Field({})
    """Spark properties of the launch. They win over the session's own."""

    buckets: tuple[str, ...] | None = None
    """Buckets that the role may see: names, or patterns with ``*``. Unset: all."""

    policy: str | dict[str, Any] | None = None
    """What a session may do with the keys that it gets: an IAM policy, as JSON or as a table. It
    opens no bucket but those above. Unset: what AWS gives an execution role in its guide, which is
    its own workgroup's calculations and notebooks, and the objects of the buckets above."""

    access_key_id: str | None = Field(None, min_length=1)
    """With ``objects.kind = "s3"``: the key of sessions with this role."""

    secret_access_key: SecretStr | None = None
    """Its secret."""

    @field_validator("policy", mode="before")
    @classmethod
    def _policy(cls, value: Any) -> Any:
        # What is in it is checked by the server, which knows the language.
        if value is not None and not isinstance(value, str | dict):
            raise ValueError("must be an IAM policy: its JSON as a text, or a table")
        return value

    @field_validator("environment")
    @classmethod
    def _environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None or "\0" in text:
                raise ValueError(f"{name!r} cannot be a variable")
            if _NOT_FOR_ROLES.fullmatch(name.upper()):
                raise ValueError(
                    f"{name} changes how programs are found or loaded, or is the driver's own"
                )
        return value

    @field_validator("spark_properties")
    @classmethod
    def _properties(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if re.fullmatch(r"spark\.[A-Za-z0-9_.:$-]+", name) is None:
                raise ValueError(f"{name!r} is not the name of a Spark property (spark.…)")
            if name in _PINNED_PROPERTIES:
                raise ValueError(f"{name} is fixed: the driver's ports would be open without it")
        return value

    @field_validator("buckets")
    @classmethod
    def _buckets(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in value or ():
            if re.fullmatch(r"[a-z0-9.*?-]{1,63}", pattern) is None:
                raise ValueError(f"{pattern!r} is not the name of a bucket, nor a pattern of names")
        return value


class PoolSection(Section):
    size: int = Field(1, ge=0)
    """Drivers that wait for a session. 0: every session starts cold."""

    max_age_s: Positive = 3600
    """A driver that waited this long is replaced."""

    pause_s: float = Field(3, ge=0, allow_inf_nan=False)
    """How long after a session took a driver the next one is started: what the session does first
    has the processors to itself."""


class EngineSection(Section):
    python: Path | None = None
    """Python of the environment that runs this engine: PySpark and what the agent needs are in it.
    It wins over what `sparkowl engines add` registered, and is checked at the first start."""

    calculations: bool = False
    """Let this engine run calculations also where AWS refuses them."""


#: The engines that run Spark; the same as ``sparkowl.domain.engine.SPARK_ENGINES``.
EngineName = Literal[
    "PySpark engine version 3", "Apache Spark version 3.5", "Apache Spark version 4.1"
]

"""Every setting, once. Nobody else reads the environment or the settings file.

Settings come, the later ones winning, from the defaults here, ``sparkowl.toml`` in the data
directory (or the file that ``SPARKOWL_CONFIG`` names), environment variables
(``SPARKOWL_DRIVER__HEAP=2g`` is ``heap`` of ``[driver]``), and the command line. A key that does
not exist stops the start.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

#: In the data directory: where the running server listens, and its process.
ADDRESS_FILE: Final = "server.json"
#: In the data directory: one line per call.
AUDIT_FILE: Final = "audit.jsonl"
#: In the data directory: the rows.
DATABASE_FILE: Final = "sparkowl.db"

Positive = Annotated[float, Field(gt=0)]


def default_data_dir() -> Path:
    """``$SPARKOWL_DATA_DIR``, else ``sparkowl`` in the XDG data folder."""
    named = os.environ.get("SPARKOWL_DATA_DIR")
    if named:
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "sparkowl"


def default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sparkowl"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DriverSection(_Section):
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

    starts_at_once: int = Field(2, ge=1)
    """Drivers that may be starting at once; further sessions wait in CREATING."""

    stop_grace_s: Positive = 5
    """A driver that is asked to end is killed after this long."""

    silent_after_s: Positive = 20
    """A session whose agent has lost its link this long is DEGRADED."""

    lost_after_s: Positive = 120
    """A driver whose agent has lost its link this long is given up."""

    away_idle_s: Positive = 15 * 60
    """An agent ends itself when the server stays away this long while nothing runs..."""

    away_busy_s: Positive = 12 * 3600
    """...and this long while a calculation runs."""

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


class RoleSection(_Section):
    user: str | None = Field(None, min_length=1)
    """POSIX user that the kernel and the JVM run as. Unset: ``driver.user``."""

    environment: dict[str, str] = {}
    """Variables for the kernel and the JVM. None that changes how programs are found or loaded."""

    spark_properties: dict[str, str] = {}
    """Spark properties of the launch. They win over the session's own."""

    buckets: tuple[str, ...] | None = None
    """Buckets that the role may see: names, or patterns with ``*``. Unset: all."""

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


class PoolSection(_Section):
    size: int = Field(1, ge=0)
    """Drivers that wait for a session. 0: every session starts cold."""

    max_age_s: Positive = 3600
    """A driver that waited this long is replaced."""


class LimitsSection(_Section):
    sessions: int = Field(20, ge=1)
    """Sessions that may live at once."""

    session_dpus: int = Field(60, ge=2)
    """Largest MaxConcurrentDpus (AWS: 60)."""

    account_dpus: int = Field(160, ge=1)
    """DPUs in use at once (AWS: 160). A session on one machine uses one."""

    workgroup_sessions: int | None = Field(None, ge=1)
    """Sessions that may live at once in a workgroup; unset: no limit but the account's."""

    workgroup_dpus: int | None = Field(None, ge=1)
    """DPUs in use at once in a workgroup; unset: no limit but the account's."""

    queue_when_full: bool = False
    """Where there is no room, let a start wait in CREATING, in order, instead of refusing it."""

    queue_length: int = Field(100, ge=1)
    """Sessions that may wait; further ones are refused."""

    request_body_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    """Largest body of an API request. Objects are not limited by it."""


class AuditSection(_Section):
    enabled: bool = True
    """Write one line per call, of both doors: who did what, to what, and how it ended."""

    file: Path | None = None
    """Where the lines go. Default: ``audit.jsonl`` in the data directory."""


class RateSection(_Section):
    per_s: float = Field(ge=0)
    """Calls a second; 0: no limit."""

    burst: int = Field(ge=1)
    """Calls at once after a pause."""


class ReadRateSection(RateSection):
    per_s: float = Field(100, ge=0)
    """Calls a second that one key may make of each operation that only reads (Get..., List...);
    0: no limit."""

    burst: int = Field(200, ge=1)
    """The same at once after a pause."""


class WriteRateSection(RateSection):
    per_s: float = Field(20, ge=0)
    """Calls a second that one key may make of each other operation; 0: no limit."""

    burst: int = Field(80, ge=1)
    """The same at once after a pause."""


class RatesSection(_Section):
    reads: ReadRateSection = ReadRateSection()
    """Of operations that only read."""

    writes: WriteRateSection = WriteRateSection()
    """Of the others."""

    operations: dict[str, RateSection] = Field(default_factory=dict)
    """Of single operations, by name, instead: ``[rates.operations.StartSession]``."""


class BudgetSection(_Section):
    """What a workgroup may use, and what happens then."""

    dpu_hours: Positive
    """DPU-hours of all sessions of the workgroup in a period."""

    period: Literal["day", "month"] = "month"
    """When the budget begins anew: at midnight, or on the first of the month, both in UTC."""

    warn_at: Positive = 0.8
    """Fraction of it at which the server logs a warning, once in a period."""

    refuse_at: Positive = 1.0
    """Fraction at which StartSession answers TooManyRequestsException."""

    stop_at: Positive | None = None
    """Fraction at which the sessions that run are ended, within half a minute. Unset: never."""

    @model_validator(mode="after")
    def _in_order(self) -> BudgetSection:
        if self.warn_at > self.refuse_at:
            raise ValueError("warn_at must not be greater than refuse_at")
        if self.stop_at is not None and self.stop_at < self.refuse_at:
            raise ValueError("stop_at must not be less than refuse_at")
        return self


class WorkGroupSection(_Section):
    """What holds for one workgroup, whether it exists already or not."""

    sessions: int | None = Field(None, ge=1)
    """Sessions that may live at once in it, instead of ``limits.workgroup_sessions``."""

    dpus: int | None = Field(None, ge=1)
    """DPUs in use at once in it, instead of ``limits.workgroup_dpus``."""

    budget: BudgetSection | None = None
    """DPU-hours that it may use; unset: no budget."""


class EngineSection(_Section):
    python: Path | None = None
    """Python of the environment that runs this engine: PySpark and what the agent needs are in it.
    It wins over what `sparkowl engines add` registered, and is checked at the first start."""

    calculations: bool = False
    """Let this engine run calculations also where AWS refuses them."""


#: The engines that run Spark; the same as ``sparkowl.domain.engine.SPARK_ENGINES``.
EngineName = Literal[
    "PySpark engine version 3", "Apache Spark version 3.5", "Apache Spark version 4.1"
]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SPARKOWL_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Database, keys, buckets and the drivers' folders. Default: SPARKOWL_DATA_DIR, else
    ``~/.local/share/sparkowl``."""

    cache_dir: Path = Field(default_factory=default_cache_dir)
    """What can be made again: class-data archives. Default: ``~/.cache/sparkowl``."""

    config: Path | None = None
    """The settings file, instead of ``sparkowl.toml`` in the data directory. Named by the
    environment only."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback only with ``behind_proxy``."""

    port: int = Field(8765, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    behind_proxy: bool = False
    """A proxy in front terminates TLS, so listening beyond loopback is safe."""

    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$")
    """AWS region of the server's resources; ``sparkowl env`` prints it."""

    account: str = Field("000000000000", pattern=r"^[0-9]{12}$")
    """AWS account of the server's resources, as it stands in their ARNs."""

    output_location: str = Field("s3://sparkowl-results", pattern=r"^s3://[a-z0-9.-]+(/.*)?$")
    """Where outputs go when a workgroup names no location; the bucket is made at start."""

    launcher: Literal["local", "fake"] = "local"
    """``local``: real drivers on this machine. ``fake``: no Spark at all, for work on the API."""

    keep_sessions: bool = False
    """Leave sessions running when the server stops."""

    allow_unisolated: bool = False
    """Let principals other than the first key in although nothing keeps user code from the server's
    files: no Landlock and no ``driver.user``."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lines below this level are not written. DEBUG shows also the calls of clients that poll."""

    log_json: bool = False
    """Log as JSON, one object a line, instead of text."""

    driver: DriverSection = DriverSection()
    pool: PoolSection = PoolSection()
    limits: LimitsSection = LimitsSection()
    audit: AuditSection = AuditSection()

    rates: RatesSection = RatesSection()

    workgroups: dict[str, WorkGroupSection] = Field(default_factory=dict)
    """A section for each workgroup by its name: ``[workgroups.<name>]`` has ``sessions`` and
    ``dpus`` (docs/operators/limits.md), ``[workgroups.<name>.budget]`` has ``dpu_hours``,
    ``period``, ``warn_at``, ``refuse_at`` and ``stop_at`` (docs/operators/usage.md)."""
    engines: dict[EngineName, EngineSection] = {}
    """What is special about an engine, by its name: `[engines."Apache Spark version 3.5"]`."""
    roles: dict[str, RoleSection] = {}
    """What the ExecutionRole of a session maps to, by its ARN:
    ``[roles."arn:aws:iam::000000000000:role/etl"]``."""

    unmapped_role: RoleSection = RoleSection()
    """The same for sessions whose role is not in ``roles``, or that have none. Where it maps to
    something, they do not use warm drivers either."""

    def every_role(self) -> dict[str, RoleSection]:
        """Each role that is mapped, by its name in the settings."""
        return {**self.roles, "unmapped_role": self.unmapped_role}

    @field_validator("roles")
    @classmethod
    def _roles(cls, value: dict[str, RoleSection]) -> dict[str, RoleSection]:
        for arn in value:
            # As Athena's model has it (RoleArn).
            if re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+", arn) is None:
                raise ValueError(
                    f"{arn!r} is not the ARN of a role: arn:aws:iam::<12 digits>:role/<name>"
                )
        return value

    @field_validator("data_dir", "cache_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given: dict[str, Any] = init_settings()
        data_dir = Path(given.get("data_dir") or default_data_dir())
        named = os.environ.get("SPARKOWL_CONFIG")
        file = Path(named) if named else data_dir / "sparkowl.toml"
        if named and not file.is_file():
            raise ValueError(f"SPARKOWL_CONFIG names {file}, which is not a file.")
        toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
        if "config" in toml():
            raise ValueError(f"{file} cannot name another settings file: take `config` out of it.")
        return init_settings, env_settings, toml


def users_of(settings: Settings) -> list[str]:
    """Every POSIX user that drivers shall run as, by the name in the settings, sorted."""
    named = (settings.driver.user, *(role.user for role in settings.every_role().values()))
    return sorted({name for name in named if name is not None})

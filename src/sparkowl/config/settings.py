"""The settings as a whole, and where they come from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sparkowl.config.catalog import CatalogSection
from sparkowl.config.drivers import (
    DriverSection,
    EngineName,
    EngineSection,
    PoolSection,
    RoleSection,
)
from sparkowl.config.http import HttpSection
from sparkowl.config.jars import JarsSection
from sparkowl.config.limits import LimitsSection, RatesSection, WorkGroupSection
from sparkowl.config.notebooks import NotebooksSection
from sparkowl.config.objects import ObjectsSection
from sparkowl.config.packages import PackagesSection
from sparkowl.config.section import Section
from sparkowl.config.store import StoreSection

#: In the data directory: the rows, unless they are in PostgreSQL.
DATABASE_FILE: Final = "sparkowl.db"


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


class AuditSection(Section):
    enabled: bool = True
    """Write one line per call, of both doors: who did what, to what, and how it ended."""

    file: Path | None = None
    """Where the lines go. Default: ``audit.jsonl`` in the data directory."""


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
    """What can be made again: class-data archives, jars, packages. Default:
    ``~/.cache/sparkowl``."""

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
    http: HttpSection = Field(HttpSection(), validate_default=True)
    audit: AuditSection = AuditSection()
    store: StoreSection = StoreSection()
    notebooks: NotebooksSection = NotebooksSection()
    objects: ObjectsSection = ObjectsSection()
    catalog: CatalogSection = CatalogSection()
    jars: JarsSection = JarsSection()
    packages: PackagesSection = PackagesSection()

    rates: RatesSection = RatesSection()

    workgroups: dict[str, WorkGroupSection] = Field(default_factory=dict)
    """A section for each workgroup by its name: ``[workgroups.<name>]`` has ``sessions``,
    ``dpus`` (docs/operators/limits.md) and ``requirements`` (docs/operators/packages.md),
    ``[workgroups.<name>.budget]`` has ``dpu_hours``, ``period``, ``warn_at``, ``refuse_at`` and
    ``stop_at`` (docs/operators/usage.md)."""
    engines: dict[EngineName, EngineSection] = {}
    """What is special about an engine, by its name: `[engines."Apache Spark version 3.5"]`."""
    roles: dict[str, RoleSection] = {}
    """What the ExecutionRole of a session maps to, by its ARN:
    ``[roles."arn:aws:iam::000000000000:role/etl"]``."""

    unmapped_role: RoleSection = RoleSection()
    """The same for sessions whose role is not in ``roles``, or that have none. Where it maps to
    something, they do not use warm drivers either."""

    @property
    def database(self) -> Path | str:
        """Where the rows are: a file, or a URL that may hold a password."""
        url = self.store.url
        return self.data_dir / DATABASE_FILE if url is None else url.get_secret_value()

    @property
    def guarded_roles(self) -> list[str]:
        """Roles that may not see every bucket, by their names in the settings."""
        return [name for name, role in self.every_role().items() if role.buckets is not None]

    @property
    def catalog_kind(self) -> str:
        """Which catalogue there is."""
        chosen = self.catalog.model_fields_set & {"kind", "database"}
        return "none" if self.guarded_roles and not chosen else self.catalog.kind

    def every_role(self) -> dict[str, RoleSection]:
        """Each role that is mapped, by its name in the settings."""
        return {**self.roles, "unmapped_role": self.unmapped_role}

    @field_validator("http")
    @classmethod
    def _http(cls, value: HttpSection, info: ValidationInfo) -> HttpSection:
        limits = info.data.get("limits")
        if limits is not None and value.bodies_bytes < limits.request_body_bytes:
            raise ValueError(
                "bodies_bytes must not be less than limits.request_body_bytes: "
                "the largest body would be throttled for ever"
            )
        return value

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

    @field_validator("cache_dir")
    @classmethod
    def _readable(cls, value: Path, info: ValidationInfo) -> Path:
        if value == info.data.get("data_dir"):
            raise ValueError(
                "must not be the data directory: sessions read the one, and may not see the other"
            )
        return value

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

"""Settings of the catalogue: where databases and tables are known to every session."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from sparkowl.config.section import Section
from sparkowl.config.store import names_postgresql

_HTTP: Final = ("http://", "https://"), "must be an http:// or https:// URL"
#: What a URI begins with by the kind of catalogue, and what to say if not. Elsewhere: nothing does.
_URIS: Final = {
    "external": (("thrift://",), "must be thrift://host:port"),
    "iceberg-rest": _HTTP,
    "glue": _HTTP,
    "hive": ((), "has no meaning: the server starts the metastore itself"),
    "none": ((), "has no meaning: there is nothing to reach"),
}


class CatalogSection(Section):
    kind: Literal["hive", "external", "glue", "iceberg-rest", "none"] = "hive"
    """``hive``: a Hive metastore that the server starts when a session first asks it.
    ``external``: one that runs elsewhere. ``glue``: AWS Glue, by a jar of the operator's.
    ``iceberg-rest``: a REST catalogue of Iceberg's. ``none``: each session has its own, and forgets
    it. Unset, it is ``none`` where a role has ``buckets``: the metastore moves files in every
    bucket for whoever asks."""

    uri: str | None = Field(None, min_length=1)
    """Where it is. ``external``: ``thrift://host:port``. ``iceberg-rest``: an http URL. ``glue``:
    the endpoint's URL; unset: AWS's."""

    database: SecretStr | None = None
    """Of ``hive``: a PostgreSQL database instead of the embedded one, as
    ``postgresql://user:password@host/database``. Its driver: ``sparkowl jars fetch postgresql``."""

    name: str = Field("rest", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Of ``iceberg-rest``: what sessions call it. It is their default catalogue."""

    jar: Path | None = None
    """Of ``glue``: the jar with Glue's client factory for Hive."""

    heap: str = Field("256m", pattern=r"^[1-9][0-9]*[kmgKMG]$")
    """Maximum heap of the metastore, in Java's notation."""

    @field_validator("database")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not names_postgresql(value.get_secret_value()):
            # Without the value: it holds a password.
            raise ValueError(
                "must be the URL of a PostgreSQL database, "
                "postgresql://user:password@host/database; unset: one in the data directory"
            )
        return value

    @model_validator(mode="after")
    def _complete(self) -> CatalogSection:
        needed = {"external": "uri", "iceberg-rest": "uri", "glue": "jar"}.get(self.kind)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f'kind = "{self.kind}" needs {needed}')
        if self.database is not None and self.kind != "hive":
            raise ValueError('database is only for kind = "hive"')
        if self.uri is not None:
            schemes, form = _URIS[self.kind]
            if not self.uri.startswith(schemes):
                raise ValueError(f'uri with kind = "{self.kind}" {form}')
        return self

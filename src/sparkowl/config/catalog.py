"""Settings of the catalogue: where databases and tables are known to every session."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from sparkowl.config.section import Section


class CatalogSection(Section):
    kind: Literal["hive", "external", "glue", "iceberg-rest", "none"] = "hive"
    """``hive``: a Hive metastore that the server starts when a session first asks it.
    ``external``: one that runs elsewhere. ``glue``: AWS Glue, by a jar of the operator's.
    ``iceberg-rest``: a REST catalogue of Iceberg's. ``none``: each session has its own, and forgets
    it."""

    uri: str | None = Field(None, min_length=1)
    """Where it is. ``external``: ``thrift://host:port``. ``iceberg-rest``: an http URL. ``glue``:
    the endpoint's URL; unset: AWS's."""

    database: SecretStr | None = None
    """Of ``hive``: a PostgreSQL database instead of the embedded one, as
    ``postgresql://user:password@host/database``. Its driver: ``sparkowl jars fetch postgresql``."""

    jar: Path | None = None
    """Of ``glue``: the jar with Glue's client factory for Hive."""

    heap: str = Field("256m", pattern=r"^[1-9][0-9]*[kmgKMG]$")
    """Maximum heap of the metastore, in Java's notation."""

    @model_validator(mode="after")
    def _complete(self) -> CatalogSection:
        needed = {"external": "uri", "iceberg-rest": "uri", "glue": "jar"}.get(self.kind)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f'kind = "{self.kind}" needs {needed}')
        if self.database is not None and self.kind != "hive":
            raise ValueError('database is only for kind = "hive"')
        return self

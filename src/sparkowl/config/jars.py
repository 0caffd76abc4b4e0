"""Settings of the jars that are not part of Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from sparkowl.config.section import Section


class JarsSection(Section):
    folder: Path | None = None
    """Folder with jars of the operator's own: one folder inside for each name that ``sparkowl jars
    fetch`` knows (``iceberg``, ``delta``, ``hudi``, ``s3a``, ``postgresql``). What is there wins
    over what was fetched."""

    repositories: tuple[Annotated[str, Field(pattern=r"^https?://[^,\s]+$")], ...] = ()
    """Maven repositories that ``sparkowl jars fetch`` asks before Maven Central."""

    ivy_settings: Path | None = None
    """Ivy's settings file, for repositories that want a password or are behind a proxy."""

    @field_validator("folder", "ivy_settings")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

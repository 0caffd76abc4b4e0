"""Settings of the jars that are not part of Spark."""

from __future__ import annotations

from pathlib import Path

from sparkowl.config.section import Section


class JarsSection(Section):
    folder: Path | None = None
    """Folder with jars of the operator's own: one folder inside for each name that ``sparkowl jars
    fetch`` knows (``iceberg``, ``delta``, ``hudi``, ``s3a``, ``postgresql``). What is there wins
    over what was fetched."""

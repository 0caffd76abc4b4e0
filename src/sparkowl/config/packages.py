"""Settings of the Python packages that workgroups have besides a session's own."""

from __future__ import annotations

from sparkowl.config.section import Positive, Section


class PackagesSection(Section):
    build_timeout_s: Positive = 900
    """How long pip may take to build the packages of a workgroup's requirements file, before the
    session that waits for them is FAILED. A big file may have a gigabyte to fetch."""

"""Settings of the database."""

from __future__ import annotations

from pydantic import Field

from sparkowl.config.section import Section


class StoreSection(Section):
    url: str | None = None
    """A PostgreSQL database, ``postgresql://user@host/name``, which several servers may share.
    Default: an SQLite file in the data directory, for one server."""

    lease_s: float = Field(10.0, ge=1.0, le=600.0)
    """Of several servers on one database: seconds after which the others take over the sessions of
    one that does not renew its lease, as it is frozen or cannot reach the database. One whose
    process is gone is missed within a second. It renews after a third of this time."""

"""Settings of the database."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from sparkowl.config.section import Section

_SCHEMES: Final = ("postgresql", "postgres")


class StoreSection(Section):
    url: SecretStr | None = None
    """A PostgreSQL database instead of ``sparkowl.db`` in the data directory:
    ``postgresql://user@host/database``. Its password is best left to ``PGPASSFILE``, or to the
    environment (``SPARKOWL_STORE__URL``)."""

    lease_s: float = Field(10.0, ge=1.0, le=600.0)
    """Of several servers on one database: seconds after which the others take over the sessions of
    one that does not renew its lease, as it is frozen or cannot reach the database. One whose
    process is gone is missed within a second. It renews after a third of this time."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not names_postgresql(value.get_secret_value()):
            # Without the value: it may hold a password.
            raise ValueError(
                "must be the URL of a PostgreSQL database, postgresql://user@host/database; "
                "unset: SQLite in the data directory"
            )
        return value


def names_postgresql(url: str) -> bool:
    """Whether it is the URL of a PostgreSQL database."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in _SCHEMES and url.startswith(f"{parts.scheme}://") and "\0" not in url

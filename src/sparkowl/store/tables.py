"""The tables. Migrations make them; a test compares both.

Times are integers, microseconds since the epoch: exact, sortable, and the same on every engine.
Text is :class:`sparkowl.store.words.Words`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
)

from sparkowl.store.words import Words

metadata = MetaData()

#: Counts what never ends. SQLite numbers rows only in a column of type INTEGER, which has 64 bits.
_Number: Final = BigInteger().with_variant(Integer, "sqlite")

#: One row: which tables these are, and who may use them. A server uses a database whose
#: ``oldest_version`` it knows, also when the tables have grown since it was made.
schema = Table(
    "schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("oldest_version", Integer, nullable=False),
    # The release that brought ``oldest_version``: what to tell people.
    Column("oldest_server", Words(32), nullable=False),
)

#: The servers that share the database, each with a lease that it renews. What a server has (its
#: sessions, its warm drivers) names it; who lets the lease run out loses all of it to the others.
servers = Table(
    "servers",
    metadata,
    Column("id", Words(36), primary_key=True),
    Column("url", Words, nullable=False),
    # The machine and the process, as JSON: a peer there can see at once that it died.
    Column("place", Words, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

workgroups = Table(
    "workgroups",
    metadata,
    Column("name", Words(128), primary_key=True),
    Column("state", Words(16), nullable=False),
    Column("description", Words),
    Column("configuration", Words, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Words(36), primary_key=True),
    Column("work_group", Words(128), nullable=False),
    Column("state", Words(16), nullable=False),
    Column("engine_version", Words(128), nullable=False),
    Column("description", Words),
    Column("request", Words, nullable=False),
    Column("idle_timeout", BigInteger, nullable=False),
    Column("output_location", Words, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("active_at", BigInteger),
    Column("idle_since", BigInteger),
    Column("ended_at", BigInteger),
    Column("reason", Words),
    Column("timeline", Words, nullable=False),
    Column("version", Integer, nullable=False),
    # Whose key started it; None before there were principals.
    Column("principal", Words(64)),
    # Which server looks after it: its lease is that server's.
    Column("server", Words(36)),
    # The notebook that its Jupyter server opens.
    Column("notebook_id", Words(36)),
    # ListSessions: newest first within a workgroup, with or without a state.
    Index("sessions_by_age", "work_group", "created_at", "id"),
    Index("sessions_by_state", "work_group", "state", "created_at", "id"),
    # ListSessions of those that live: many more have ended.
    Index("sessions_active", "work_group", "ended_at", "created_at", "id"),
    # Budgets: the time used in a workgroup since the period began, read from the index alone.
    Index("sessions_by_use", "work_group", "ended_at", "active_at"),
    # ListNotebookSessions, and whether a notebook has a session.
    Index("sessions_by_notebook", "notebook_id", "ended_at", "created_at"),
    # The supervisor's start-up and the limits look for the few that are live.
    Index("sessions_live", "ended_at"),
)

session_events = Table(
    "session_events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("session_id", Words(36), ForeignKey("sessions.id"), nullable=False, index=True),
    Column("event", Words(32), nullable=False),
    Column("from_state", Words(16)),
    Column("to_state", Words(16), nullable=False),
    Column("reason", Words),
    Column("at", BigInteger, nullable=False),
)

calculations = Table(
    "calculations",
    metadata,
    Column("id", Words(36), primary_key=True),
    Column("session_id", Words(36), ForeignKey("sessions.id"), nullable=False),
    Column("state", Words(16), nullable=False),
    Column("description", Words),
    Column("code", Words, nullable=False),
    Column("output_location", Words, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("reason", Words),
    Column("progress", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Index("calculations_by_age", "session_id", "submitted_at", "id"),
    Index("calculations_by_state", "session_id", "state", "submitted_at", "id"),
)

calculation_events = Table(
    "calculation_events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("calculation_id", Words(36), ForeignKey("calculations.id"), nullable=False, index=True),
    Column("event", Words(32), nullable=False),
    Column("from_state", Words(16)),
    Column("to_state", Words(16), nullable=False),
    Column("reason", Words),
    Column("at", BigInteger, nullable=False),
)

drivers = Table(
    "drivers",
    metadata,
    Column("id", Words(36), primary_key=True),
    Column("session_id", Words(36), index=True),
    Column("fingerprint", Words(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("handle", Words),
    Column("ready_at", BigInteger),
    Column("adopted_at", BigInteger),
    Column("ended_at", BigInteger, index=True),
    Column("reason", Words),
    # The reason's code.
    Column("code", Words(16)),
    Column("details", Words, nullable=False),
    # Which server looks after it while it waits in that server's pool; afterwards its session's.
    Column("server", Words(36)),
)

request_tokens = Table(
    "request_tokens",
    metadata,
    Column("operation", Words(64), primary_key=True),
    Column("token", Words(128), primary_key=True),
    Column("parameters", Words(64), nullable=False),
    Column("resource_id", Words(36), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

#: Of workgroups (``workgroup/<name>``) and sessions (``session/<id>``).
tags = Table(
    "tags",
    metadata,
    Column("resource", Words(256), primary_key=True),
    Column("key", Words(128), primary_key=True),
    Column("value", Words(256), nullable=False),
)

notebooks = Table(
    "notebooks",
    metadata,
    Column("id", Words(36), primary_key=True),
    Column("work_group", Words(128), nullable=False),
    Column("name", Words(255), nullable=False),
    # The number of its last version.
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Index("notebooks_by_name", "work_group", "name", unique=True),
    # ListNotebookMetadata.
    Index("notebooks_by_age", "work_group", "created_at", "id"),
)

#: Every save of a notebook. What is read is the last one.
notebook_versions = Table(
    "notebook_versions",
    metadata,
    Column("notebook_id", Words(36), ForeignKey("notebooks.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # The .ipynb, as JSON.
    Column("payload", Words, nullable=False),
    Column("saved_at", BigInteger, nullable=False),
    # The session that it was saved from; None: by a call.
    Column("session_id", Words(36)),
    Column("principal", Words(64)),
)

principals = Table(
    "principals",
    metadata,
    Column("name", Words(64), primary_key=True),
    Column("policy", Words, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", Words(128), primary_key=True),
    Column("principal", Words(64), ForeignKey("principals.name"), nullable=False),
    # Encrypted; the key to it is not in the database.
    Column("secret", Words, nullable=False),
    Column("state", Words(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)

executors = Table(
    "executors",
    metadata,
    Column("driver_id", Words(36), primary_key=True),
    # Spark's own id: ``0``, ``1``, ... The driver is not among them: it has a row in its table.
    Column("executor_id", Words(64), primary_key=True),
    Column("cores", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("failed", Boolean, nullable=False),
    # Budgets look for those that lived in the running period.
    Index("executors_by_end", "ended_at"),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """A time as the tables hold it."""
    elapsed = at - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def optional_micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def moment(value: int) -> datetime:
    """The time that a table holds."""
    return datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)


def optional_moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)

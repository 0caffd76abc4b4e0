"""The first tables: workgroups, sessions, calculations, drivers, request tokens."""

import sqlalchemy as sa
from alembic import op

from sparkowl.store.words import Words

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "drivers",
        sa.Column("id", Words(36), nullable=False),
        sa.Column("session_id", Words(36), nullable=True),
        sa.Column("fingerprint", Words(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("handle", Words(), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("adopted_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", Words(), nullable=True),
        sa.Column("details", Words(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_drivers_ended_at"), "drivers", ["ended_at"], unique=False)
    op.create_index(op.f("ix_drivers_session_id"), "drivers", ["session_id"], unique=False)
    op.create_table(
        "request_tokens",
        sa.Column("operation", Words(64), nullable=False),
        sa.Column("token", Words(128), nullable=False),
        sa.Column("parameters", Words(64), nullable=False),
        sa.Column("resource_id", Words(36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation", "token"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", Words(36), nullable=False),
        sa.Column("work_group", Words(128), nullable=False),
        sa.Column("state", Words(16), nullable=False),
        sa.Column("engine_version", Words(128), nullable=False),
        sa.Column("description", Words(), nullable=True),
        sa.Column("request", Words(), nullable=False),
        sa.Column("idle_timeout", sa.BigInteger(), nullable=False),
        sa.Column("output_location", Words(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.Column("active_at", sa.BigInteger(), nullable=True),
        sa.Column("idle_since", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", Words(), nullable=True),
        sa.Column("timeline", Words(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("sessions_by_age", "sessions", ["work_group", "created_at", "id"], unique=False)
    op.create_index(
        "sessions_by_state", "sessions", ["work_group", "state", "created_at", "id"], unique=False
    )
    op.create_index(
        "sessions_active",
        "sessions",
        ["work_group", "ended_at", "created_at", "id"],
        unique=False,
    )
    op.create_index("sessions_live", "sessions", ["ended_at"], unique=False)
    op.create_table(
        "workgroups",
        sa.Column("name", Words(128), nullable=False),
        sa.Column("state", Words(16), nullable=False),
        sa.Column("description", Words(), nullable=True),
        sa.Column("configuration", Words(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "calculations",
        sa.Column("id", Words(36), nullable=False),
        sa.Column("session_id", Words(36), nullable=False),
        sa.Column("state", Words(16), nullable=False),
        sa.Column("description", Words(), nullable=True),
        sa.Column("code", Words(), nullable=False),
        sa.Column("output_location", Words(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", Words(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "calculations_by_age", "calculations", ["session_id", "submitted_at", "id"], unique=False
    )
    op.create_index(
        "calculations_by_state",
        "calculations",
        ["session_id", "state", "submitted_at", "id"],
        unique=False,
    )
    op.create_table(
        "session_events",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("session_id", Words(36), nullable=False),
        sa.Column("event", Words(32), nullable=False),
        sa.Column("from_state", Words(16), nullable=True),
        sa.Column("to_state", Words(16), nullable=False),
        sa.Column("reason", Words(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        op.f("ix_session_events_session_id"), "session_events", ["session_id"], unique=False
    )
    op.create_table(
        "calculation_events",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("calculation_id", Words(36), nullable=False),
        sa.Column("event", Words(32), nullable=False),
        sa.Column("from_state", Words(16), nullable=True),
        sa.Column("to_state", Words(16), nullable=False),
        sa.Column("reason", Words(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calculation_id"],
            ["calculations.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        op.f("ix_calculation_events_calculation_id"),
        "calculation_events",
        ["calculation_id"],
        unique=False,
    )

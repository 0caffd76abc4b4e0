"""Notebooks with all their versions, and which notebook a session is for."""

import sqlalchemy as sa
from alembic import op

from sparkowl.store.words import Words

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "notebooks",
        sa.Column("id", Words(36), nullable=False),
        sa.Column("work_group", Words(128), nullable=False),
        sa.Column("name", Words(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("notebooks_by_name", "notebooks", ["work_group", "name"], unique=True)
    op.create_index("notebooks_by_age", "notebooks", ["work_group", "created_at", "id"])
    op.create_table(
        "notebook_versions",
        sa.Column("notebook_id", Words(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("payload", Words(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.Column("session_id", Words(36), nullable=True),
        sa.Column("principal", Words(64), nullable=True),
        sa.ForeignKeyConstraint(["notebook_id"], ["notebooks.id"]),
        sa.PrimaryKeyConstraint("notebook_id", "number"),
    )
    op.add_column("sessions", sa.Column("notebook_id", Words(36), nullable=True))
    op.create_index("sessions_by_notebook", "sessions", ["notebook_id", "ended_at", "created_at"])
    op.execute("UPDATE schema SET version = 4, oldest_version = 4, oldest_server = '0.1.0'")

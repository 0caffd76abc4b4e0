"""The control plane: tags, principals and their keys, executors, and who started a session."""

import sqlalchemy as sa
from alembic import op

from sparkowl.store.words import Words

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "tags",
        sa.Column("resource", Words(256), nullable=False),
        sa.Column("key", Words(128), nullable=False),
        sa.Column("value", Words(256), nullable=False),
        sa.PrimaryKeyConstraint("resource", "key"),
    )
    op.create_table(
        "principals",
        sa.Column("name", Words(64), nullable=False),
        sa.Column("policy", Words(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", Words(128), nullable=False),
        sa.Column("principal", Words(64), nullable=False),
        sa.Column("secret", Words(), nullable=False),
        sa.Column("state", Words(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["principal"], ["principals.name"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "executors",
        sa.Column("driver_id", Words(36), nullable=False),
        sa.Column("executor_id", Words(64), nullable=False),
        sa.Column("cores", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("driver_id", "executor_id"),
    )
    op.create_index("executors_by_end", "executors", ["ended_at"], unique=False)
    op.create_index(
        "sessions_by_use", "sessions", ["work_group", "ended_at", "active_at"], unique=False
    )
    op.add_column("sessions", sa.Column("principal", Words(64), nullable=True))

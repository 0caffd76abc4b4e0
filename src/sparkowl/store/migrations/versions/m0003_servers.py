"""Several servers on one database, why a driver ended as a code, and what the schema asks for."""

import sqlalchemy as sa
from alembic import op

from sparkowl.store.words import Words

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", Words(36), nullable=False),
        sa.Column("url", Words(), nullable=False),
        sa.Column("place", Words(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "schema",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("oldest_version", sa.Integer(), nullable=False),
        sa.Column("oldest_server", Words(32), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.execute("INSERT INTO schema (version, oldest_version, oldest_server) VALUES (3, 3, '0.1.0')")
    op.add_column("sessions", sa.Column("server", Words(36), nullable=True))
    op.add_column("drivers", sa.Column("server", Words(36), nullable=True))
    op.add_column("drivers", sa.Column("code", Words(16), nullable=True))

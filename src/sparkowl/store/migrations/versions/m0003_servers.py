"""Several servers on one database, why a driver ended as a code, and what the schema asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "schema",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("oldest_version", sa.Integer(), nullable=False),
        sa.Column("oldest_server", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.execute("INSERT INTO schema (version, oldest_version, oldest_server) VALUES (3, 3, '0.1.0')")
    op.add_column("sessions", sa.Column("server", sa.String(length=36), nullable=True))
    op.add_column("drivers", sa.Column("server", sa.String(length=36), nullable=True))
    op.add_column("drivers", sa.Column("code", sa.String(length=16), nullable=True))

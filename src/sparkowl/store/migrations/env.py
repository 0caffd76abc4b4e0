"""How Alembic reaches the database: over the connection that ``migrate.upgrade`` hands in."""

from alembic import context

from sparkowl.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

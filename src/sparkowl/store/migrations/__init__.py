"""Alembic's scripts: each file of ``versions`` is one step, never edited after a release."""

"""Bringing a database up to date, with Alembic.

A database that a newer server made is refused: its rows may mean what this server does not know.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sparkowl.store.engine import sqlite_engine

HERE = Path(__file__).parent


class NewerDatabase(Exception):
    """The database was made by a newer SparkOwl."""


def upgrade(path: Path) -> None:
    """Apply the migrations that the database file lacks; make it when it is missing.

    All of them or none: a server that dies in the middle starts over the next time.
    """
    config = _config()
    engine = sqlite_engine(path)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            current = MigrationContext.configure(connection).get_current_revision()
            scripts = ScriptDirectory.from_config(config)
            known = {script.revision for script in scripts.walk_revisions()}
            if current is not None and current not in known:
                raise NewerDatabase(
                    f"{path} is at revision {current}, which this SparkOwl does not know. "
                    "Use the SparkOwl that made it, or a newer one."
                )
            if current != scripts.get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()


def is_current(connection: Connection) -> bool:
    """Whether the database has the tables of this version: nothing is missing, and it is no newer
    one's."""
    current = MigrationContext.configure(connection).get_current_revision()
    return current == ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    return config

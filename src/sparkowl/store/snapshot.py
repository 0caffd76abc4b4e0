"""All rows from one database into another, whichever engines the two run on.

This is what a backup and a restore are made of. Rows are copied through the tables of the code,
not as pages of a file, so that what was saved from one engine can be put into another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Integer, Table, func, insert, literal, select, text

from sparkowl.store import migrate, tables
from sparkowl.store.engine import (
    PATIENTLY,
    Place,
    UnusableDatabase,
    open_database,
    sqlite_engine,
)

#: Rows in memory at a time...
_BATCH: Final = 5_000
#: ...of tables with long texts: a notebook has up to 10 MiB, a cell 1 Mi characters.
_BATCHES: Final = {tables.notebook_versions.name: 2, tables.calculations.name: 20}
#: Leases of servers that ran when the copy was made. They say nothing of those that use the copy.
_LEFT_OUT: Final = frozenset({tables.servers.name})


def schema(connection: Connection) -> dict[str, Any] | None:
    """Which tables these are, and who may use them, as the database says it."""
    row = connection.execute(select(tables.schema)).mappings().one_or_none()
    return None if row is None else dict(row)


def save(source: Connection, path: Path) -> None:
    """Make a SQLite file with every row of ``source``, which must show one state all the while.

    The file must not exist. When this returns it is complete and on the disk.
    """
    if source.dialect.name == "postgresql":
        # Else it would be cut off while the indexes are made.
        source.exec_driver_sql(PATIENTLY)
    migrate.upgrade(path)
    engine = sqlite_engine(path)
    try:
        with engine.connect() as target:
            # Nobody else sees the file yet, and a half one is thrown away.
            for pragma in ("journal_mode = DELETE", "synchronous = OFF", "foreign_keys = OFF"):
                target.exec_driver_sql(f"PRAGMA {pragma}")
            target.exec_driver_sql("BEGIN")
            indexes = _drop_indexes(target)
            copy(source, target)
            for statement in indexes:
                target.exec_driver_sql(statement)
            target.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


@contextmanager
def filling(place: Place) -> Iterator[Connection]:
    """A connection to a database without a row, to be filled and committed by the caller.

    Its tables are made if they are missing. :class:`UnusableDatabase` where it is not empty.
    """
    migrate.upgrade(place)
    database = open_database(place)
    try:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(database.begin_migration)
            for table in tables.metadata.sorted_tables:
                if (
                    table.name != tables.schema.name
                    and connection.execute(select(literal(1)).select_from(table).limit(1)).first()
                ):
                    raise UnusableDatabase(
                        f"{database.name} is not empty (there are {table.name}). Name a database "
                        "that no server has used."
                    )
            yield connection
    finally:
        database.engine.dispose()


def copy(source: Connection, target: Connection) -> None:
    """Put every row of ``source`` into ``target``, whose tables are of the same version and empty.

    Within the transactions of both; memory is bounded, however many rows there are and how long.
    """
    target.execute(tables.schema.delete())
    for table in tables.metadata.sorted_tables:
        if table.name not in _LEFT_OUT:
            _copy_table(source, target, table)


def _copy_table(source: Connection, target: Connection, table: Table) -> None:
    batch_size = _BATCHES.get(table.name, _BATCH)
    rows = source.execute(select(table), execution_options={"yield_per": batch_size})
    for batch in rows.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in batch])
    key = table.autoincrement_column
    if target.dialect.name == "postgresql" and key is not None and isinstance(key.type, Integer):
        # Rows that bring their numbers do not move the sequence that the next one takes its from.
        highest = target.execute(select(func.max(key))).scalar()
        if highest is not None:
            target.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :highest)"),
                {"table": table.name, "column": key.name, "highest": highest},
            )


def _drop_indexes(target: Connection) -> list[str]:
    """They are made far faster when the rows are there; the statements that make them."""
    found = target.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).all()
    for name, _ in found:
        target.exec_driver_sql(f'DROP INDEX "{name}"')
    return [statement for _, statement in found]

"""The memory: the only room with SQL.

Each noun has a file of plain functions that take a connection and run inside the caller's
transaction: :meth:`Store.read` and :meth:`Store.write` provide it. The SQL is SQLAlchemy Core that
both SQLite and PostgreSQL understand.
"""

from sparkowl.store.store import Store

__all__ = ["Store"]

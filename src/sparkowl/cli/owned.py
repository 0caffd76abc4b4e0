"""The data directory, opened by its operator: for commands that are no clients of the API."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from sparkowl import credentials
from sparkowl.cli.options import fail
from sparkowl.config import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sparkowl.access.register import Register

T = TypeVar("T")


def read(chosen: Settings, work: Callable[[Connection], T]) -> T:
    """What ``work`` reads from the database. It changes nothing, and no server waits for it."""
    from sparkowl.store.reading import NoDatabase, reading

    try:
        with reading(chosen.database) as connection:
            return work(connection)
    except NoDatabase as error:
        fail(str(error))


def acting(chosen: Settings, act: Callable[[Register], Awaitable[T]]) -> T:
    """What ``act`` does with the keys; a refusal ends the command with its text.

    One after the other: of two that replaced the first key at once, one would show a new key that
    the other has replaced already. And never on a database of another version: bringing it up to
    date is the server's work.
    """
    from sqlalchemy.exc import DatabaseError

    from sparkowl.access.register import Register
    from sparkowl.clock import System
    from sparkowl.domain.access_key import KeyRefusal
    from sparkowl.domain.conditions import BadPolicy
    from sparkowl.store import Store
    from sparkowl.store.engine import UnusableDatabase, name_of

    refuse_others(chosen)
    read(chosen, lambda connection: None)
    os.umask(0o077)

    async def run() -> T:
        with (chosen.data_dir / "keys.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            store = Store.open(chosen.database)
            try:
                return await act(Register(store, chosen.data_dir, System()))
            finally:
                store.close()

    try:
        return asyncio.run(run())
    except (KeyRefusal, BadPolicy, credentials.BadCredentials, UnusableDatabase) as error:
        fail(str(error))
    except DatabaseError as error:
        fail(f"The database {name_of(chosen.database)} cannot be used: {error.orig}.")
    except OSError as error:
        fail(f"The data directory {chosen.data_dir} cannot be used: {error}.")


def refuse_others(chosen: Settings) -> None:
    """A file that another user made there would be one that the server cannot open."""
    try:
        owner = (chosen.data_dir / credentials.FILE).stat().st_uid
    except OSError as error:
        fail(
            f"No server has ever started on {chosen.data_dir} ({error.strerror}). "
            "Start one with: sparkowl serve"
        )
    if owner != os.geteuid():
        fail(f"{chosen.data_dir} belongs to another user ({owner}). Run this as that user.")

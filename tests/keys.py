"""Principals for tests, made as the operator makes them: by another hand than the server's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sparkowl.access.register import NewKey, Register
from sparkowl.clock import Clock, System
from sparkowl.config import DATABASE_FILE
from sparkowl.domain.policy import Policy, parse
from sparkowl.store import Store
from sparkowl.store.engine import Place

T = TypeVar("T")
Statement = dict[str, Any]


def allow(actions: str | list[str], resources: str | list[str] = "*", **more: Any) -> Statement:
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def deny(actions: str | list[str], resources: str | list[str] = "*", **more: Any) -> Statement:
    return allow(actions, resources, **more) | {"Effect": "Deny"}


def text_of(*statements: Statement) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def policy_of(*statements: Statement) -> Policy:
    return parse(text_of(*statements))


def work_group(name: str) -> str:
    return f"arn:aws:athena:us-east-1:000000000000:workgroup/{name}"


def registered(
    data_dir: Path,
    act: Callable[[Register], Awaitable[T]],
    clock: Clock | None = None,
    place: Place | None = None,
) -> T:
    """What ``act`` does with the register of a data directory, on a connection of its own."""

    async def run() -> T:
        store = Store.open(place or data_dir / DATABASE_FILE)
        try:
            return await act(Register(store, data_dir, clock or System()))
        finally:
            store.close()

    return asyncio.run(run())


def make_key(
    data_dir: Path, name: str, *statements: Statement, place: Place | None = None
) -> NewKey:
    """A key for a principal of that policy."""
    text = text_of(*statements)
    return registered(data_dir, lambda register: register.create(name, text), place=place)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    try:
        yield store
    finally:
        store.close()

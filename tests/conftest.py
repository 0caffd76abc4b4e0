"""How the tests run. What they are built from is in :mod:`tests.builders`."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("house", deadline=None)
# For a night rather than a commit: ``pytest --hypothesis-profile=long tests/stories``.
settings.register_profile("long", deadline=None, max_examples=1_000, stateful_step_count=40)
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine runs in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True

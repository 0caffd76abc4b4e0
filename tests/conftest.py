"""How the tests run. What they are built from is in :mod:`tests.builders`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.seaweed import SeaweedFS

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


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One S3 service for all tests. Each takes a bucket of its own."""
    # Imported here: most runs need neither it nor boto3.
    from tests.seaweed import SeaweedFS

    service = SeaweedFS(tmp_path_factory.mktemp("seaweed"))
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of services that agree to everything and remember it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()

"""Hive's own metastore, in a JVM, on both of its databases."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests import databases
from tests.app.test_catalog import settings_for
from tests.e2e.test_table_formats import fetch

from sparkowl.app.catalog import keeper_spec
from sparkowl.config.settings import default_cache_dir
from sparkowl.launchers.catalog import Catalog
from sparkowl.metastore.machine import JavaMetastore, MachineError
from sparkowl.metastore.names import Files
from sparkowl.metastore.spec import KeeperSpec

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def elsewhere() -> Iterator[None]:
    """The keeper stands in the catalogue's folder; a test comes back from there."""
    before = Path.cwd()
    yield
    os.chdir(before)


def a_spec(folder: Path, **settings: object) -> KeeperSpec:
    chosen = settings_for(folder, cache_dir=default_cache_dir(), **settings)
    (chosen.data_dir / "buckets").mkdir(parents=True, exist_ok=True)
    spec = keeper_spec(chosen, None)
    # The folder alone, as a server makes it.
    catalog = Catalog(spec)
    catalog.open()
    catalog.let_go()
    return spec


@asynccontextmanager
async def running(spec: KeeperSpec) -> AsyncIterator[JavaMetastore]:
    os.chdir(spec.folder)
    lock = os.open("lock", os.O_RDWR | os.O_CLOEXEC)
    metastore = JavaMetastore(spec, lock)
    try:
        await metastore.start()
        yield metastore
    finally:
        await metastore.stop()
        os.close(lock)


async def test_a_database_on_postgresql_is_filled_by_the_first_start(tmp_path: Path) -> None:
    fetch("postgresql")
    server = databases.server()
    url = server.new_database()
    spec = a_spec(tmp_path, catalog={"database": url})

    async with running(spec) as metastore:
        assert await metastore.backup() is None

    found = server.execute('SELECT "NAME", "DB_LOCATION_URI" FROM "DBS"', url.rpartition("/")[2])
    assert found == [("default", "s3://sparkowl-results/warehouse")]
    assert not Files(Path(spec.folder)).derby.exists()


async def test_a_copy_that_is_made_while_it_runs_is_whole(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with running(spec) as metastore:
        copied = await metastore.backup()
    assert copied is not None

    elsewhere = a_spec(tmp_path / "copy")
    (copied / "derby").rename(Files(Path(elsewhere.folder)).derby)
    async with running(elsewhere) as metastore:
        assert metastore.alive


async def test_one_that_cannot_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    spec = replace(a_spec(tmp_path), heap="1k")

    with pytest.raises(MachineError, match="did not come up"):
        async with running(spec):
            pass

    assert "heap" in Files(Path(spec.folder)).jvm_log.read_text()

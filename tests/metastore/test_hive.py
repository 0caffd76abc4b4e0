"""Hive's own metastore, in a JVM, on both of its databases."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests import databases
from tests.app.test_catalog import settings_for
from tests.maven import fetch
from tests.proc import children_of, command_of

from sparkowl.app.catalog import keeper_spec
from sparkowl.config.settings import default_cache_dir
from sparkowl.launchers.catalog import Catalog
from sparkowl.metastore.hive import WITHHELD
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
async def running(spec: KeeperSpec, **limits: float) -> AsyncIterator[JavaMetastore]:
    os.chdir(spec.folder)
    lock = os.open("lock", os.O_RDWR | os.O_CLOEXEC)
    metastore = JavaMetastore(spec, lock, **limits)
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


async def test_nobody_gets_a_secret_out_of_its_settings(tmp_path: Path) -> None:
    """Hive keeps callers from reading settings with secrets, but fills in other texts by them."""
    secret, pattern = "${fs.s3a.secret.key}", "hive.metastore.partition.name.whitelist.pattern"
    spec = replace(a_spec(tmp_path), properties={"fs.s3a.secret.key": "canary-8c1f"})
    async with running(spec) as metastore:
        line = await metastore.open()
        said = [
            await called(line, "get_config_value", "hive.nothing", secret),
            await called(line, "setMetaConf", pattern, secret),
            await called(line, "getMetaConf", pattern),
            *[await called(line, name) for name in WITHHELD],
        ]
        databases = await called(line, "get_all_databases")
        line.close()

    assert b"canary" not in b"".join(said)
    assert all(b"Invalid method name" in one for one in said)
    assert b"default" in databases


async def called(line: socket.socket, method: str, *arguments: str) -> bytes:
    """The answer to a call in thrift's binary protocol whose arguments are texts."""
    told = struct.pack(">ii", -0x7FFEFFFF, len(method)) + method.encode() + bytes(4)
    for number, text in enumerate(arguments, 1):
        told += struct.pack(">bhi", 11, number, len(text)) + text.encode()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(line, told + b"\0")
    async with asyncio.timeout(30):
        return await loop.sock_recv(line, 4096)


async def test_a_database_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    fetch("postgresql")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        spec = a_spec(tmp_path, catalog={"database": f"postgresql://u:p@127.0.0.1:{port}/d"})

        with pytest.raises(MachineError, match="its database does not answer within 5 s"):
            async with running(spec, assembled_s=5):
                pass

    assert children() == []


async def test_one_that_hangs_is_ended_and_another_can_be_started(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    async with running(spec, opened_s=5) as metastore:
        (await metastore.open()).close()
        [jvm] = children()
        os.kill(jvm, signal.SIGSTOP)

        with pytest.raises(MachineError, match="hung"):
            await metastore.open()

        assert not metastore.alive
        assert children() == []
        await metastore.start()
        (await metastore.open()).close()


def children() -> list[int]:
    """The processes of ours that run Java."""
    return [pid for pid in children_of(os.getpid()) if "java" in command_of(pid)]

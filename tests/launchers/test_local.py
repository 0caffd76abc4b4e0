"""Drivers of this machine, where what happens needs no Spark: any program can stand in for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.builders import make_local_settings
from tests.domain.test_properties import ICEBERG

from sparkowl.agent.confine import plan
from sparkowl.agent.messages import Confinement
from sparkowl.domain.ids import new_driver_id
from sparkowl.domain.service import Service
from sparkowl.launchers import processes
from sparkowl.launchers.base import LaunchSpec
from sparkowl.launchers.jars import COMPILED
from sparkowl.launchers.local import LocalLauncher

#: Its first thread ends; the second stays until it is killed.
_HALF_DEAD = f"""#!{sys.executable}
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def a_launcher(folder: Path, program: str, **changes: Any) -> LocalLauncher:
    python = folder / "python"
    python.write_text(program)
    python.chmod(0o700)
    settings = make_local_settings(folder, pythons={"stand-in": str(python)}, **changes)
    return LocalLauncher(settings, lambda: "ws://127.0.0.1:1")


def a_spec() -> LaunchSpec:
    return LaunchSpec(
        driver_id=new_driver_id(),
        engine_version="stand-in",
        token="t" * 64,
        properties={},
        buckets={},
        warm=False,
    )


async def test_a_dying_driver_is_not_gone_before_it_is_known_how_it_ended(tmp_path: Path) -> None:
    launcher = a_launcher(tmp_path, _HALF_DEAD)
    handle = await launcher.launch(a_spec())
    pid = json.loads(handle)["pid"]
    async with asyncio.timeout(10):
        while processes.started_at(pid) is not None:
            await asyncio.sleep(0.01)

    dying = await launcher.observe(handle)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while (dead := await launcher.observe(handle)).alive:
            await asyncio.sleep(0.01)

    assert dying.alive
    assert dead.ended == "The driver's agent was killed by signal 9."
    await launcher.stop(handle, grace_s=0)


#: Keeps what it is told beside itself, and ends.
_LISTENS = f"""#!{sys.executable}
import pathlib, sys
pathlib.Path(sys.argv[0]).with_name("told.json").write_text(sys.stdin.read())
"""


async def told(launcher: LocalLauncher, folder: Path, spec: LaunchSpec) -> dict[str, Any]:
    """What the agent is told at a launch."""
    handle = await launcher.launch(spec)
    async with asyncio.timeout(10):
        while (await launcher.observe(handle)).alive:
            await asyncio.sleep(0.01)
    await launcher.stop(handle, grace_s=0)
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


async def test_a_formats_jars_may_be_read_and_its_properties_fit_what_is_here(
    tmp_path: Path,
) -> None:
    launcher = a_launcher(tmp_path, _LISTENS, confine=True)
    jars = ("/own/delta/delta.jar", f"/cache/delta/{COMPILED}")
    spec = replace(a_spec(), class_path=jars, properties=ICEBERG, warehouse="s3://results/w")

    found = await told(launcher, tmp_path, spec)

    assert found["class_path"] == list(jars)
    assert set(jars) <= set(found["confinement"]["readable"])
    catalog = "spark.sql.catalog.spark_catalog"
    assert found["properties"][f"{catalog}.warehouse"] == "s3://results/w"
    assert found["properties"][f"{catalog}.io-impl"].endswith("HadoopFileIO")
    assert found["properties"]["spark.delta.logStore.s3.impl"] == "sparkowl.delta.FolderLogStore"


async def test_a_jar_in_the_data_directory_does_not_open_what_lies_beside_it(
    tmp_path: Path,
) -> None:
    jar, key = tmp_path / "glue.jar", tmp_path / "credentials.json"
    for file in (jar, key):
        file.touch()
    launcher = a_launcher(tmp_path, _LISTENS, confine=True, catalog_jars=(str(jar),))

    found = (await told(launcher, tmp_path, a_spec()))["confinement"]

    rules = plan(Confinement(**{name: tuple(paths) for name, paths in found.items()}))
    assert jar in [rule.path for rule in rules]
    assert not any(key.is_relative_to(rule.path) for rule in rules)


async def test_with_glue_of_the_operators_own_nothing_is_replaced(tmp_path: Path) -> None:
    launcher = a_launcher(tmp_path, _LISTENS, glue=True)

    found = await told(launcher, tmp_path, replace(a_spec(), properties=ICEBERG))

    assert ICEBERG.items() <= found["properties"].items()
    assert "spark.delta.logStore.s3.impl" not in found["properties"]


async def test_iceberg_takes_no_locks_in_a_metastore_of_the_servers_own(tmp_path: Path) -> None:
    """Its tables of locks are made by Hive's own tools only."""
    key = "spark.hadoop.iceberg.engine.hive.lock-enabled"
    for own in (True, False):
        launcher = a_launcher(tmp_path, _LISTENS, own_metastore=own)

        found = (await told(launcher, tmp_path, a_spec()))["properties"]

        assert found.get(key) == ("false" if own else None)


async def test_real_s3_is_reached_by_s3a_also_from_warm_drivers(tmp_path: Path) -> None:
    service = Service(endpoint="http://127.0.0.1:8333", region="us-east-1", path_style=True)
    launcher = a_launcher(tmp_path, _LISTENS, s3=service, sparks={"stand-in": "3.5.8"})

    found = (await told(launcher, tmp_path, replace(a_spec(), warm=True)))["properties"]

    assert found["spark.hadoop.fs.s3.impl"] == "org.apache.hadoop.fs.s3a.S3AFileSystem"
    provider = found["spark.hadoop.fs.s3a.aws.credentials.provider"]
    assert provider == "com.amazonaws.auth.profile.ProfileCredentialsProvider"

"""Sessions whose properties name the classes of a table format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.test_properties import DELTA, ICEBERG
from tests.launchers.test_jars import shelf
from tests.stories.world import World
from tests.stories.world import world as a_world


async def start(world: World, properties: dict[str, str]) -> str:
    engine = {"MaxConcurrentDpus": 2, "SparkProperties": properties}
    session = await world.start(EngineConfiguration=engine)
    await world.settle()
    return session


async def test_without_the_jars_the_session_fails_with_the_command_that_fetches_them(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path, pool=1) as world:
        session = await world.session(await start(world, ICEBERG))

        assert session.state == "FAILED"
        assert session.reason is not None
        assert session.reason.startswith(
            "Session failed to start [SERVER] This session needs Iceberg's jars, which are not "
            "there: run: sparkowl jars fetch iceberg "
        )


async def test_a_format_means_a_driver_of_ones_own_with_its_jars(tmp_path: Path) -> None:
    place = shelf(tmp_path / "cache", "delta")
    async with a_world(tmp_path, pool=1) as world:
        await world.settle()
        #: Without an extension nothing else is fixed at launch.
        only_catalog = {key: value for key, value in DELTA.items() if "catalog" in key}

        session = await world.session(await start(world, only_catalog))

        assert session.state == "IDLE"
        assert "fixed at launch: spark.sql.catalog.spark_catalog" in session.timeline["why"]
        launched = world.launcher.last
        assert launched is not None
        assert launched.class_path == (str(place / "a.jar"), str(place / "b.jar"))
        assert launched.warehouse == "s3://results/warehouse"


async def test_other_sessions_have_no_jars(tmp_path: Path) -> None:
    async with a_world(tmp_path, pool=0) as world:
        await start(world, {"spark.sql.ansi.enabled": "false"})

        assert world.launcher.last is not None
        assert world.launcher.last.class_path == ()


@pytest.mark.parametrize("fetched", [True, False])
async def test_warm_drivers_have_the_jars_of_s3_and_wait_for_them(
    tmp_path: Path, fetched: bool
) -> None:
    if fetched:
        shelf(tmp_path / "cache", "s3a")
    async with a_world(tmp_path, pool=1) as world:
        await world.stop()
        world.jars = replace(world.jars, always=("s3a",))
        await world.restart()
        for _ in range(3):
            await world.advance(0.5)

        assert len(await world.waiting()) == (1 if fetched else 0)
        assert world.launcher.last is not None
        assert len(world.launcher.last.class_path) == (2 if fetched else 0)

"""Engines by name, environments behind them: who shares a warm driver with whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection
from tests.stories.world import POOL_PAUSE_S, World, world

from sparkowl.domain.engine import SPARK_3, SPARK_3_5
from sparkowl.domain.sparks import Spark, Sparks
from sparkowl.domain.workgroup import built_in
from sparkowl.launchers.engines import looked_at
from sparkowl.store import workgroups

THREE, FOUR = looked_at()


async def register(w: World, **environments: str) -> None:
    """Register environments for ``three`` and ``three_five``; the server starts again with them."""
    names = {"three": SPARK_3, "three_five": SPARK_3_5}
    w.sparks = Sparks(
        own=w.sparks.own,
        registered={names[name]: Spark(text, THREE) for name, text in environments.items()},
    )

    def write(tx: Connection) -> None:
        pattern = built_in(w.clock.now())[1]
        for name, engine in names.items():
            version = {"SelectedEngineVersion": engine, "EffectiveEngineVersion": engine}
            configuration = {**pattern.configuration, "EngineVersion": version}
            group = replace(pattern, name=name, configuration=configuration)
            workgroups.insert_work_group(tx, group)

    await w.store.write(write)
    await w.crash()
    await w.restart()


async def test_engines_without_an_environment_share_the_warm_drivers(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        await register(w)

        for group in ("three", "three_five", "spark"):
            session_id, answered = await w.start_and_look(WorkGroup=group)
            # The next one is started, and ready.
            for _ in range(3):
                await w.advance(POOL_PAUSE_S)

            assert answered == "CREATED"
            assert (await w.session(session_id)).timeline["warm"] is True


async def test_an_engine_with_an_environment_starts_cold_and_says_why(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        await register(w, three="3.5.8 /python")

        session_id, answered = await w.start_and_look(WorkGroup="three")
        await w.settle()

        session = await w.session(session_id)
        assert (answered, session.state) == ("CREATING", "IDLE")
        assert session.timeline["why"] == "its engine has an environment of its own"
        assert session.timeline["spark_version"] == "fake"
        assert len(await w.waiting()) == 1
        _, other = await w.start_and_look(WorkGroup="three_five")
        assert other == "CREATED"


async def test_properties_are_judged_by_the_spark_that_would_run(tmp_path: Path) -> None:
    """``spark.sql.scripting.enabled`` came with Spark 4."""
    async with world(tmp_path, pool=0) as w:
        await register(w, three="3.5.8 /python")
        asked = {"SparkProperties": {"spark.sql.scripting.enabled": "true"}}

        refused = await w.start(WorkGroup="three", EngineConfiguration=asked)
        taken = await w.start(EngineConfiguration=asked)

        assert await w.state(taken) == "IDLE"
        assert await w.state(refused) == "FAILED"
        assert "Spark 3.5.8 has no such property" in str((await w.session(refused)).reason)

"""Sessions with an execution role: what their drivers are launched with."""

from __future__ import annotations

from pathlib import Path

from tests.stories.world import world as a_world

from sparkowl.domain.role import Role, Roles

ARN = "arn:aws:iam::000000000000:role/etl"
ETL = Role(
    user="etl",
    spark_properties={"spark.sql.shuffle.partitions": "7"},
    buckets=("results", "raw-*"),
)


async def test_a_mapped_role_never_gets_a_warm_driver(tmp_path: Path) -> None:
    async with a_world(tmp_path, pool=1, roles=Roles({ARN: ETL})) as world:
        session, state = await world.start_and_look(ExecutionRole=ARN)
        await world.settle()

        row = await world.session(session)
        assert (state, row.state) == ("CREATING", "IDLE")
        assert row.timeline["why"] == "its execution role is mapped to an identity of its own"
        assert world.launcher.last is not None
        assert world.launcher.last.role == ETL


async def test_a_role_that_is_not_mapped_takes_a_warm_driver(tmp_path: Path) -> None:
    async with a_world(tmp_path, pool=1, roles=Roles({ARN: ETL})) as world:
        _, state = await world.start_and_look(ExecutionRole=ARN + "-other")

        assert state == "CREATED"


async def test_buckets_that_a_role_may_not_see_are_not_mounted(tmp_path: Path) -> None:
    async with a_world(tmp_path, pool=0, roles=Roles({ARN: ETL})) as world:
        for bucket in ("raw-1", "vault"):
            world.files.create_bucket(bucket)

        await world.start(ExecutionRole=ARN)
        mapped = world.launcher.last
        await world.start()
        unmapped = world.launcher.last

        assert mapped is not None
        assert unmapped is not None
        assert set(mapped.buckets) == {"raw-1", "results"}
        assert set(unmapped.buckets) == {"raw-1", "results", "vault"}


async def test_what_the_role_sets_wins_over_what_the_session_asks(tmp_path: Path) -> None:
    async with a_world(tmp_path, pool=0, roles=Roles({ARN: ETL})) as world:
        properties = {"spark.sql.shuffle.partitions": "1", "spark.sql.ansi.enabled": "false"}
        session = await world.start(
            ExecutionRole=ARN,
            EngineConfiguration={"MaxConcurrentDpus": 2, "SparkProperties": properties},
        )

        adopted = world.launcher.adopt_of((await world.driver(session)).id)
        assert adopted is not None
        assert dict(adopted.properties) == {"spark.sql.ansi.enabled": "false"}

"""The warm pool."""

from __future__ import annotations

from pathlib import Path

from tests.stories.world import POOL_PAUSE_S, world


async def test_the_pool_is_filled_before_anybody_asks(tmp_path: Path) -> None:
    async with world(tmp_path, pool=2) as w:
        for _ in range(3):
            await w.advance(0.5)

        assert len(await w.waiting()) == 2


async def test_a_member_that_is_taken_is_replaced_and_never_given_again(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [member] = await w.waiting()

        session_id = await w.start()
        await w.terminate(session_id)
        await w.advance(1)

        assert (await w.driver(session_id)).id == member.id
        [next_member] = await w.waiting()
        assert next_member.id != member.id


async def test_the_next_member_is_started_only_a_moment_after_one_was_taken(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        before = w.launcher.launches

        await w.start()
        await w.settle()
        at_once = w.launcher.launches
        await w.advance(POOL_PAUSE_S)

        assert (at_once, w.launcher.launches) == (before, before + 1)


async def test_two_sessions_never_share_a_member(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        (one, _), (two, _) = await w.start_and_look(), await w.start_and_look()
        await w.settle()

        assert (await w.driver(one)).id != (await w.driver(two)).id


async def test_a_member_that_grew_old_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [old] = await w.waiting()

        await w.advance(3600)
        await w.advance(1)

        [new] = await w.waiting()
        assert new.id != old.id
        assert w.launcher.alive == 1


async def test_a_member_that_dies_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [dead] = await w.waiting()

        await w.launcher.kill(dead.id)
        await w.advance(1)

        [new] = await w.waiting()
        assert new.id != dead.id


async def test_a_member_whose_link_is_gone_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        [cut] = await w.waiting()

        await w.cut(cut.id)
        await w.advance(1)

        [new] = await w.waiting()
        assert new.id != cut.id
        assert w.launcher.alive == 1


async def test_a_member_that_is_not_ready_in_time_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, pool=0) as w:
        w.launcher.knobs.never_ready = True
        w.pool = 1
        await w.crash()
        await w.restart()
        assert w.launcher.alive == 1

        w.launcher.knobs.never_ready = False
        await w.advance(180)
        await w.advance(3)

        assert len(await w.waiting()) == 1
        assert w.launcher.alive == 1


async def test_a_pool_that_fails_tries_again_later_and_later(tmp_path: Path) -> None:
    async with world(tmp_path, pool=0) as w:
        w.launcher.knobs.launch_error = "No Java."
        w.pool = 1
        await w.crash()
        await w.restart()
        tries = []

        for _ in range(200):
            await w.advance(1)
            tries.append(w.launcher.launches)

        # One try at 0, 2, 6, 14, 30, 62, 122, 182 seconds: never more than a minute apart.
        assert tries[-1] == 8
        w.launcher.knobs.launch_error = None
        await w.advance(60)
        await w.advance(1)
        assert len(await w.waiting()) == 1


async def test_sessions_that_wait_for_a_place_to_start_go_before_the_pool(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1, starts_at_once=1) as w:
        w.launcher.knobs.never_ready = True
        cold = {"SparkProperties": {"spark.default.parallelism": "3"}}
        first, second = [await w.start(EngineConfiguration=cold) for _ in range(2)]
        warm = await w.start()
        assert await w.state(warm) == "IDLE"
        await w.advance(0.5)

        w.launcher.knobs.never_ready = False
        await w.terminate(first)
        await w.advance(0.5)

        assert await w.state(second) == "IDLE"


async def test_a_pool_of_none_starts_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, pool=0) as w:
        await w.advance(60)

        assert w.launcher.launches == 0

"""Stories of starts for which there is no room: refused, or in line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stories.world import World, world

from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.limits import Limits, Quota

QUEUE = Limits(account=Quota(sessions=1), queue_when_full=True, queue_length=2)
ROLE = "arn:aws:iam::000000000000:role/etl"


async def place(w: World, session_id: str) -> str | None:
    """The StateChangeReason that every operation answers."""
    reasons: set[str | None] = {
        (await w.call(operation, SessionId=session_id))["Status"]["StateChangeReason"]
        for operation in ("GetSession", "GetSessionStatus")
    }
    listed = (await w.call("ListSessions", WorkGroup="spark"))["Sessions"]
    reasons |= {s["Status"]["StateChangeReason"] for s in listed if s["SessionId"] == session_id}
    (reason,) = reasons
    return reason


async def start_three(w: World) -> tuple[str, str, str]:
    """Three starts, one after the other."""
    started = []
    for _ in range(3):
        started.append(await w.start())
        await w.advance(1)
    first, second, third = started
    return first, second, third


async def add_work_group(w: World, name: str) -> None:
    engine = {"SelectedEngineVersion": "PySpark engine version 3"}
    await w.call(
        "CreateWorkGroup",
        Name=name,
        Configuration={"EngineVersion": engine, "ExecutionRole": ROLE},
    )


async def test_a_host_without_room_says_so_and_starts_again_when_it_has(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.launcher.knobs.no_room = "1 MiB is needed"

        with pytest.raises(
            TooManyRequests,
            match=r"required capacity not being available: 1 MiB is needed\.$",
        ):
            await w.start()

        assert (await w.call("ListSessions", WorkGroup="spark"))["Sessions"] == []
        w.launcher.knobs.no_room = None
        assert await w.state(await w.start()) == "IDLE"


async def test_a_warm_driver_needs_no_more_room(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1) as w:
        w.launcher.knobs.no_room = "memory"

        assert await w.state(await w.start()) == "IDLE"

        assert w.launcher.alive == 1, "the pool must not fill a host that is full"
        with pytest.raises(TooManyRequests, match="capacity not being available"):
            await w.start()


async def test_starts_wait_in_line_and_each_says_its_place(tmp_path: Path) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        first, second, third = await start_three(w)

        assert [await w.state(s) for s in (first, second, third)] == [
            "IDLE",
            "CREATING",
            "CREATING",
        ]
        assert await place(w, first) is None
        assert await place(w, second) == "Session waits for capacity: place 1 of 2 in the queue."
        assert await place(w, third) == "Session waits for capacity: place 2 of 2 in the queue."

        await w.terminate(first)
        await w.advance(1)
        assert [await w.state(s) for s in (second, third)] == ["IDLE", "CREATING"]
        assert await place(w, third) == "Session waits for capacity: place 1 of 1 in the queue."

        await w.terminate(second)
        await w.advance(1)
        assert await w.state(third) == "IDLE"
        assert "queue" in (await w.session(third)).timeline["why"]


async def test_the_queue_has_an_end(tmp_path: Path) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        for _ in range(3):
            await w.start()

        with pytest.raises(TooManyRequests, match="2 more wait for room already"):
            await w.start()
        with pytest.raises(InvalidRequest, match="at most 60 DPUs"):
            await w.start(EngineConfiguration={"MaxConcurrentDpus": 61})


async def test_a_session_that_names_no_size_starts_however_small_the_largest_is(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, limits=Limits(session_dpus=2)) as w:
        assert await w.state(await w.start(EngineConfiguration={})) == "IDLE"


async def test_one_that_waits_can_be_ended_and_the_others_move_up(tmp_path: Path) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        first, second, third = await start_three(w)

        assert await w.terminate(second) == "TERMINATING"

        assert await w.state(second) == "TERMINATED"
        assert await place(w, third) == "Session waits for capacity: place 1 of 1 in the queue."
        await w.terminate(first)
        await w.advance(1)
        assert await w.state(third) == "IDLE"


async def test_waiting_has_no_deadline_and_survives_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        # The first stays alive: it is BUSY.
        first = await w.start()
        await w.calculate(first, "hang")
        second = await w.start()

        await w.advance(3600)
        await w.crash()
        await w.restart()

        assert await w.state(second) == "CREATING"
        await w.terminate(first)
        await w.advance(1)
        assert await w.state(second) == "IDLE"


async def test_a_host_without_room_lets_starts_wait_where_there_is_a_queue(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(queue_when_full=True)) as w:
        w.launcher.knobs.no_room = "memory"
        session_id = await w.start()
        assert await w.state(session_id) == "CREATING"

        w.launcher.knobs.no_room = None
        await w.advance(1)

        assert await w.state(session_id) == "IDLE"


async def test_one_workgroups_line_holds_up_nobody_elses(tmp_path: Path) -> None:
    limits = Limits(by_work_group={"spark": Quota(sessions=1)}, queue_when_full=True)
    async with world(tmp_path, limits=limits) as w:
        await add_work_group(w, "etl")
        _, waiting = await w.start(), await w.start()

        other = await w.start(WorkGroup="etl")

        await w.advance(1)
        assert (await w.state(waiting), await w.state(other)) == ("CREATING", "IDLE")


async def test_nobody_has_a_turn_in_a_workgroup_that_was_disabled_meanwhile(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        await add_work_group(w, "etl")
        first, held = await w.start(), await w.start()
        await w.advance(1)
        other = await w.start(WorkGroup="etl")
        await w.call("UpdateWorkGroup", WorkGroup="spark", State="DISABLED")

        await w.terminate(first)
        await w.advance(1)

        assert (await w.state(held), await w.state(other)) == ("CREATING", "IDLE")
        await w.terminate(other)
        await w.call("UpdateWorkGroup", WorkGroup="spark", State="ENABLED")
        await w.advance(1)
        assert await w.state(held) == "IDLE"


async def test_a_warm_driver_goes_to_whoever_waits_longest(tmp_path: Path) -> None:
    async with world(tmp_path, pool=1, limits=QUEUE) as w:
        first, second, third = await start_three(w)
        # The pool has filled itself again: nobody whose turn it is waits.
        assert len(await w.waiting()) == 1
        launches = w.launcher.launches

        await w.terminate(first)
        await w.advance(1)

        assert (await w.state(second), await w.state(third)) == ("IDLE", "CREATING")
        assert (await w.session(second)).timeline["warm"] is True
        # One launch: the pool's next member.
        assert w.launcher.launches <= launches + 1


async def test_a_warm_driver_goes_to_whoever_waits_though_the_host_has_no_room_for_another(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, pool=1, limits=QUEUE) as w:
        first, second, _ = await start_three(w)
        assert len(await w.waiting()) == 1
        w.launcher.knobs.no_room = "memory"

        await w.terminate(first)
        await w.advance(1)

        assert await w.state(second) == "IDLE"
        assert w.launcher.alive == 1


async def test_a_workgroup_may_have_a_smaller_quota_than_the_account(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(work_group=Quota(sessions=1))) as w:
        await add_work_group(w, "etl")
        await w.start()

        with pytest.raises(TooManyRequests, match="Maximum allowed sessions reached: 1 in WorkGr"):
            await w.start()
        assert await w.state(await w.start(WorkGroup="etl")) == "IDLE"


async def test_deleting_a_workgroup_with_its_sessions_ends_those_that_wait_as_well(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, limits=QUEUE) as w:
        await add_work_group(w, "etl")
        first, second = await w.start(WorkGroup="etl"), await w.start(WorkGroup="etl")

        with pytest.raises(InvalidRequest, match="is not empty: 2 of its sessions are live"):
            await w.call("DeleteWorkGroup", WorkGroup="etl")
        await w.call("DeleteWorkGroup", WorkGroup="etl", RecursiveDeleteOption=True)
        await w.settle()

        for session_id in (first, second):
            session = await w.session(session_id)
            assert session.state == "TERMINATED"
            assert "[USER] Its WorkGroup was deleted." in (session.reason or "")
        with pytest.raises(InvalidRequest, match="is not found"):
            await w.call("ListSessions", WorkGroup="etl")

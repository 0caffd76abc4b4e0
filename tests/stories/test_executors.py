"""Executors: what Spark reports of a cluster, as clients see and pay it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.stories.world import World, world

from sparkowl.domain.errors import InvalidRequest

GIVEN_BACK = "Executor killed by driver."
LOST = "Command exited with code 137"


def now(w: World) -> float:
    return w.clock.now().timestamp()


async def listed(w: World, session_id: str, **request: Any) -> list[dict[str, Any]]:
    answer = await w.call("ListExecutors", SessionId=session_id, **request)
    return list(answer["ExecutorsSummary"])


def looks(executors: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(executor["ExecutorType"], executor["ExecutorState"]) for executor in executors]


async def with_workers(w: World, count: int, cores: int = 4) -> str:
    """A session whose workers came a second apart: ``0`` first."""
    session_id = await w.start()
    for number in range(count):
        await w.advance(1)
        await w.report_executor(session_id, str(number), cores=cores, started_at=now(w))
    return session_id


async def test_on_one_machine_the_coordinator_is_the_only_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()

        [coordinator] = await listed(w, session_id)

        assert looks([coordinator]) == [("COORDINATOR", "REGISTERED")]
        assert coordinator["ExecutorId"] == (await w.driver(session_id)).id
        assert coordinator["ExecutorSize"] == 1
        assert coordinator["TerminationDateTime"] is None


async def test_workers_come_before_their_coordinator_newest_first(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 2, cores=8)

        newest, older, coordinator = await listed(w, session_id)

        assert looks([newest, older, coordinator]) == [
            ("WORKER", "REGISTERED"),
            ("WORKER", "REGISTERED"),
            ("COORDINATOR", "REGISTERED"),
        ]
        assert newest["StartDateTime"] == round(now(w) * 1000)
        assert newest["StartDateTime"] - older["StartDateTime"] == 1000
        assert newest["ExecutorSize"] == 2
        assert len({e["ExecutorId"] for e in (newest, older, coordinator)}) == 3


async def test_a_worker_that_was_lost_failed_and_one_given_back_did_not(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 3)
        told = {"cores": 4, "started_at": now(w)}
        await w.advance(5)

        await w.report_executor(session_id, "0", **told, ended_at=now(w), reason=LOST)
        await w.report_executor(session_id, "1", **told, ended_at=now(w), reason=GIVEN_BACK)

        found = await listed(w, session_id)
        assert looks(found) == [
            ("WORKER", "REGISTERED"),
            ("WORKER", "TERMINATED"),
            ("WORKER", "FAILED"),
            ("COORDINATOR", "REGISTERED"),
        ]
        assert found[1]["TerminationDateTime"] == found[2]["TerminationDateTime"]
        assert found[2]["TerminationDateTime"] == round(now(w) * 1000)
        # It came first, and what is told later does not move it.
        assert found[2]["StartDateTime"] == min(e["StartDateTime"] for e in found[:3])


async def test_a_filter_shows_those_in_one_state(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 2)
        told = {"cores": 4, "started_at": now(w), "ended_at": now(w)}
        await w.report_executor(session_id, "0", **told, reason=LOST)

        async def of(state: str) -> list[tuple[str, str]]:
            return looks(await listed(w, session_id, ExecutorStateFilter=state))

        assert await of("REGISTERED") == [("WORKER", "REGISTERED"), ("COORDINATOR", "REGISTERED")]
        assert await of("FAILED") == [("WORKER", "FAILED")]
        assert await of("TERMINATED") == []


async def test_no_worker_outlives_its_session(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 2)
        await w.advance(10)

        await w.terminate(session_id)
        await w.advance(60)

        found = await listed(w, session_id)
        assert {state for _, state in looks(found)} == {"TERMINATED"}
        assert len({executor["TerminationDateTime"] for executor in found}) == 1


async def test_the_workers_of_a_driver_that_died_have_ended_and_did_not_fail(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 1)

        await w.launcher.kill((await w.driver(session_id)).id)
        await w.advance(1)

        assert await w.state(session_id) == "FAILED"
        assert looks(await listed(w, session_id)) == [
            ("WORKER", "TERMINATED"),
            ("COORDINATOR", "FAILED"),
        ]


async def test_pages_stay_right_while_executors_come_and_go(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 5)
        before = [executor["ExecutorId"] for executor in await listed(w, session_id)]
        seen: list[str] = []
        token: dict[str, Any] = {}

        for turn in range(3):
            page = await w.call("ListExecutors", SessionId=session_id, MaxResults=2, **token)
            seen += [executor["ExecutorId"] for executor in page["ExecutorsSummary"]]
            token = {"NextToken": page["NextToken"]}
            await w.advance(1)
            await w.report_executor(session_id, f"new {turn}", cores=4, started_at=now(w))
            ended = {"started_at": now(w), "ended_at": now(w), "reason": LOST}
            await w.report_executor(session_id, str(4 - turn), cores=4, **ended)

        assert seen == before
        assert token["NextToken"] is None


async def test_a_token_is_good_only_for_the_list_it_came_from(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 3)
        page = await w.call("ListExecutors", SessionId=session_id, MaxResults=2)
        token = page["NextToken"]

        for wrong in (
            {"NextToken": token, "ExecutorStateFilter": "REGISTERED"},
            {"NextToken": token[:-2]},
        ):
            with pytest.raises(InvalidRequest, match="NextToken"):
                await w.call("ListExecutors", SessionId=session_id, MaxResults=2, **wrong)


async def test_a_report_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 1)
        before = await listed(w, session_id)
        driver = await w.driver(session_id)

        await w.cut(driver.id)
        w.launcher.reconnect(driver.id)
        await w.report_executor(session_id, "0", cores=4, started_at=now(w) + 3600)

        assert await listed(w, session_id) == before


# --- DPU time ----------------------------------------------------------------------------------


async def millis(w: World, session_id: str) -> int:
    found = await w.call("GetSession", SessionId=session_id)
    return int(found["Statistics"]["DpuExecutionInMillis"])


async def test_a_session_uses_its_coordinators_and_its_workers_dpus(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await w.start()
        await w.advance(10)
        assert await millis(w, session_id) == 10_000

        began = now(w)
        await w.report_executor(session_id, "0", cores=8, started_at=began)
        await w.advance(10)
        assert await millis(w, session_id) == 20_000 + 2 * 10_000

        ended = {"started_at": began, "ended_at": now(w), "reason": GIVEN_BACK}
        await w.report_executor(session_id, "0", cores=8, **ended)
        await w.advance(10)
        assert await millis(w, session_id) == 30_000 + 2 * 10_000

        await w.terminate(session_id)
        await w.advance(3600)
        assert await millis(w, session_id) == 50_000


async def test_a_calculation_uses_what_lived_while_it_ran(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        session_id = await with_workers(w, 1)
        await w.advance(100)
        calculation_id = await w.calculate(session_id, "hang")
        await w.advance(10)

        async def used() -> set[int]:
            asked = {"CalculationExecutionId": calculation_id}
            answers = [
                await w.call(operation, **asked)
                for operation in ("GetCalculationExecution", "GetCalculationExecutionStatus")
            ]
            return {answer["Statistics"]["DpuExecutionInMillis"] for answer in answers}

        assert await used() == {20_000}

        await w.stop_calculation(calculation_id)
        await w.advance(100)
        assert await used() == {20_000}

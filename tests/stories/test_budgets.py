"""A workgroup's budget: it warns, then refuses, then stops; and begins anew."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stories.world import World, world

from sparkowl.domain.budget import Budget, Period
from sparkowl.domain.errors import TooManyRequests
from sparkowl.domain.limits import Limits, Quota

HOUR = 3600.0
BUDGET = Budget(work_group="spark", dpu_hours=2, period=Period.DAY, stop_at=1.5)
#: Longer than any story: what ends these sessions is the budget.
LONG = {"SessionIdleTimeoutInMinutes": 480}


async def use(w: World, hours: float) -> None:
    """Let time go by in steps, as the half-minute looks would see it."""
    for _ in range(round(hours * 4)):
        await w.advance(HOUR / 4)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(r.__dict__["standing"]) for r in caplog.records if "standing" in r.__dict__]


async def test_a_budget_warns_then_refuses_then_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with world(tmp_path, budgets=[BUDGET]) as w:
        running = await w.start(**LONG)
        await use(w, 1.5)
        assert warnings(caplog) == []
        await w.terminate(await w.start())

        await use(w, 0.25)
        assert warnings(caplog) == ["WARN"]
        await w.terminate(await w.start())

        await use(w, 0.25)
        with pytest.raises(
            TooManyRequests, match=r"budget of workgroup spark is used up: 2\.00 of"
        ):
            await w.start()
        assert await w.state(running) == "IDLE"

        await use(w, 1)
        assert await w.state(running) == "TERMINATED"
        reason = (await w.session(running)).reason
        assert reason is not None
        assert "[QUOTA] The budget of its workgroup is used up: 3.00 of 2 DPU" in reason
        assert warnings(caplog) == ["WARN", "REFUSE", "STOP"]


async def test_what_waits_does_not_start_on_a_budget_that_is_used_up(tmp_path: Path) -> None:
    limits = Limits(account=Quota(sessions=1), queue_when_full=True)
    never_stops = replace(BUDGET, stop_at=None)
    async with world(tmp_path, limits=limits, budgets=[never_stops]) as w:
        running, waiting = await w.start(**LONG), await w.start()
        await use(w, 2)

        await w.terminate(running)
        await w.advance(1)
        assert await w.state(waiting) == "CREATING"

        await w.crash()
        await w.restart()
        await w.advance(1)
        assert await w.state(waiting) == "CREATING"

        await use(w, 24)
        assert await w.state(waiting) in {"IDLE", "TERMINATED"}, "the next day has its own budget"


async def test_workers_use_the_budget_too(tmp_path: Path) -> None:
    async with world(tmp_path, budgets=[BUDGET]) as w:
        session_id = await w.start(**LONG)
        started_at = w.clock.now().timestamp()
        await w.report_executor(session_id, "0", cores=16, started_at=started_at)

        await use(w, 0.5)

        with pytest.raises(TooManyRequests, match=r"2\.50 of 2 DPU-hours"):
            await w.start()


async def test_another_workgroup_has_nothing_to_do_with_it(tmp_path: Path) -> None:
    other = Budget(work_group="other", dpu_hours=0.1, period=Period.DAY, stop_at=1)
    async with world(tmp_path, budgets=[other]) as w:
        running = await w.start(**LONG)

        await use(w, 5)

        assert await w.state(running) == "IDLE"
        await w.start()


async def test_with_the_next_day_the_budget_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with world(tmp_path, budgets=[BUDGET]) as w:
        await w.start(**LONG)
        await use(w, 3)
        with pytest.raises(TooManyRequests):
            await w.start()
        assert warnings(caplog) == ["WARN", "REFUSE", "STOP"]

        await use(w, 21)

        await w.start(**LONG)
        await use(w, 1.75)
        assert warnings(caplog) == ["WARN", "REFUSE", "STOP", "WARN"]


async def test_without_a_stop_sessions_run_on(tmp_path: Path) -> None:
    endless = Budget(work_group="spark", dpu_hours=1, period=Period.MONTH)
    async with world(tmp_path, budgets=[endless]) as w:
        running = await w.start(**LONG)

        await use(w, 4)

        assert await w.state(running) == "IDLE"
        with pytest.raises(TooManyRequests, match="Sessions start again at 2026-02-01T00:00:00Z"):
            await w.start()


async def test_a_budget_holds_across_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path, budgets=[BUDGET]) as w:
        running = await w.start(**LONG)
        await use(w, 2)
        await w.crash()
        w.clock.advance(HOUR)

        await w.restart()

        assert await w.state(running) == "TERMINATED"


async def test_a_repeated_request_is_answered_though_the_budget_is_used_up(tmp_path: Path) -> None:
    async with world(tmp_path, budgets=[BUDGET]) as w:
        first = await w.start(ClientRequestToken="t" * 32, **LONG)
        await use(w, 2)

        assert await w.start(ClientRequestToken="t" * 32, **LONG) == first

"""The short form of ``make faults``: faults of each kind, at points all over a life."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import botocore.auth
import pytest
from botocore.auth import get_current_datetime
from faults.catalog import FAULTS, POINTS, cannot
from faults.results import Results, page
from faults.runs import Plan, Suite, drawn
from faults.world import left_out

PLANS = (
    Plan("running", "kill server", 0),
    Plan("ended", "kill server", 0),
    Plan("idle", "freeze server", 1),
    Plan("running", "cut link", 1),
    Plan("submitted", "full disk", 1),
    Plan("running", "lock database", 1),
    Plan("idle", "no rights", 1),
    Plan("output uploaded", "kill agent", 0),
    Plan("ended", "clock forward", 0),
    Plan("running", "delay link", 1),
    Plan("output written", "freeze kernel", 1),
    Plan("handle written", "kill server", 0),
    Plan("terminating", "kill jvm", 0),
)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("faults")
    started = Suite(Results(folder / "results.json"), folder / "evidence")
    left = ["the suite did not come to its end"]
    by_the_clock = get_current_datetime
    try:
        yield started
    finally:
        left = started.close()
    assert left == []
    # The clock that a fault moved was the suite's alone.
    assert botocore.auth.get_current_datetime is by_the_clock


@pytest.mark.spark
@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_what_must_hold_holds_after_a_fault(suite: Suite, plan: Plan) -> None:
    if plan.fault in left_out():
        pytest.skip(left_out()[plan.fault])
    assert suite.run(plan) == []


def test_a_seed_draws_the_same_plans_and_none_that_cannot_happen() -> None:
    plans = [plan for plan, _ in zip(drawn(7), range(500), strict=False)]

    assert plans == [plan for plan, _ in zip(drawn(7), range(500), strict=False)]
    assert all(cannot(plan.point, plan.fault) is None for plan in plans)
    assert {plan.point for plan in plans} == set(POINTS)


def test_the_page_has_a_line_for_every_fault_at_every_point(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add("idle", "kill agent", 1.25, violated=False)
    results.add("idle", "kill agent", 3.0, violated=True)
    results.save()

    written = page(Results(tmp_path / "results.json").found)

    lines = [line for line in written.splitlines() if line.startswith("| ")]
    for fault in FAULTS:
        assert sum(line.startswith(f"| {fault} | ") for line in lines) == len(POINTS) + 1
    assert "| kill agent | idle | 2 | 1 | 2.1 s, 3.0 s |" in lines
    assert "| kill agent | asked | cannot happen: there is no driver yet | | |" in lines
    assert "| kill agent | linked | not tried | | |" in lines


def test_figures_of_suites_that_ran_side_by_side_are_added_up(tmp_path: Path) -> None:
    merged = Results(tmp_path / "merged.json")
    for seed, recovered_s in ((1, 2.0), (2, 3.0)):
        part = Results(tmp_path / f"{seed}.json")
        part.begin_random(seed)["runs"] = 1
        part.add("idle", "kill agent", recovered_s, violated=seed == 2)
        merged.merge(part.found)

    assert merged.found["cells"] == {"idle: kill agent": {"violations": 1, "s": [2.0, 3.0]}}
    assert [entry["seed"] for entry in merged.found["random"]] == [1, 2]
    assert len(merged.found["load"]) == 2

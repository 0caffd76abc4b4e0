"""Percent of a calculation, from what Spark says of its stages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sparkowl.agent.spark import Stages, StageSeen


def test_percent_counts_tasks_of_all_stages_seen() -> None:
    stages = Stages()
    assert stages.take({}) == 0
    assert stages.take({1: StageSeen(4, 1)}) == 25
    assert stages.take({1: StageSeen(4, 2), 2: StageSeen(4, 0)}) == 25
    assert stages.take({2: StageSeen(4, 2)}) == 75
    assert stages.take({}) == 99


def test_a_new_job_does_not_take_anything_back() -> None:
    stages = Stages()
    assert stages.take({1: StageSeen(10, 9)}) == 90
    assert stages.take({2: StageSeen(100, 0)}) == 90


@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 5),
            st.integers(1, 50).flatmap(
                lambda n: st.builds(StageSeen, st.just(n), st.integers(0, n))
            ),
        )
    )
)
def test_it_never_falls_and_never_says_done(looks: list[dict[int, StageSeen]]) -> None:
    stages = Stages()
    percents = [stages.take(look) for look in looks]
    assert percents == sorted(percents)
    assert all(0 <= percent < 100 for percent in percents)

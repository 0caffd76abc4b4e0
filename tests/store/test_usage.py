"""DPU time by SQL: what the domain would count, at a cost that does not grow with the past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.dialects import sqlite
from tests.builders import AT, make_driver, make_session

from sparkowl.domain import executor, usage
from sparkowl.domain.executor import Fate, Worker
from sparkowl.domain.session import Session
from sparkowl.domain.usage import Use, tally
from sparkowl.store import Store, drivers, executors, sessions, tables
from sparkowl.store import usage as store_usage
from sparkowl.store.reading import NoDatabase, reading
from sparkowl.store.tables import micros

NOW = AT + timedelta(days=2)
EVER = AT - timedelta(days=1000)


def random_history(seed: int) -> list[tuple[Session, list[Worker]]]:
    """Sessions of two workgroups over some days, with workers that live and end anyhow."""
    dice = Random(seed)
    return [_random_session(dice) for _ in range(60)]


def _random_session(dice: Random) -> tuple[Session, list[Worker]]:
    def later(at: datetime) -> datetime:
        return at + timedelta(seconds=dice.uniform(0, 86_400))

    created = AT + timedelta(seconds=dice.uniform(-200_000, 170_000))
    active = None if dice.random() < 0.1 else created + timedelta(seconds=1)
    ended = None if dice.random() < 0.2 else min(later(created), NOW)
    session = make_session(
        work_group=dice.choice(["spark", "other"]),
        created_at=created,
        active_at=active,
        ended_at=None if ended is None else max(ended, active or created),
        principal=dice.choice([None, "ann", "bob"]),
    )
    driver = make_driver(session_id=session.id)
    workers = []
    for number in range(dice.choice([0, 0, 1, 3])):
        began = created + timedelta(seconds=dice.uniform(-100, 5000))
        gone = None if dice.random() < 0.3 else later(began)
        workers.append(
            Worker(
                driver_id=driver.id,
                executor_id=str(number),
                cores=dice.randint(1, 9),
                started_at=began,
                ended_at=gone,
            )
        )
    return session, workers


def write(tx: Connection, history: Sequence[tuple[Session, list[Worker]]]) -> None:
    for session, workers in history:
        sessions.insert_session(tx, session)
        driver = make_driver(session_id=session.id)
        if workers:
            driver = make_driver(session_id=session.id, id=workers[0].driver_id)
        drivers.insert_driver(tx, driver)
        for worker in workers:
            executors.record(tx, worker)


def expected(
    history: Sequence[tuple[Session, list[Worker]]], since: datetime, until: datetime
) -> timedelta:
    """By the domain's function for one session, window by window."""
    total = timedelta(0)
    for session, workers in history:
        end = min(session.ended_at or until, until)
        if session.active_at is not None and end > since and session.active_at < until:
            total += usage.used(max(session.active_at, since), end, workers)
    return total


@pytest.mark.parametrize("seed", range(5))
async def test_a_workgroups_sum_is_what_the_domain_counts(store: Store, seed: int) -> None:
    history = random_history(seed)
    await store.write(lambda tx: write(tx, history))

    for since in (AT - timedelta(days=10), AT, AT + timedelta(hours=20)):
        mine = [(s, w) for s, w in history if s.work_group == "spark"]

        found = await store.read(lambda tx, at=since: store_usage.used(tx, "spark", at, NOW))  # type: ignore[misc]

        assert found == expected(mine, since, NOW)
        assert found > timedelta(0)


@pytest.mark.parametrize("seed", range(5))
async def test_the_stream_counts_the_same_by_any_group(store: Store, seed: int) -> None:
    history = random_history(seed)
    await store.write(lambda tx: write(tx, history))
    await store.write(
        lambda tx: tx.execute(
            insert(tables.tags),
            [
                {"resource": f"session/{session.id}", "key": "team", "value": "a"}
                for session, _ in history[::2]
            ],
        )
    )
    since, until = AT, AT + timedelta(days=1)

    for by in ([], ["workgroup"], ["day"], ["tag:team", "principal"], ["day", "workgroup"]):

        def read(tx: Connection, by: list[str] = by) -> list[Use]:
            return list(store_usage.stream(tx, by, since=since, until=until, work_group=None))

        # The stream wants a transaction.
        totals = tally(await store.write(read), by)
        time = timedelta(microseconds=sum(total.dpu_micros for total in totals.values()))
        assert time == expected(history, since, until)

    tagged = [pair for pair in history[::2] if pair[0].work_group == "other"]
    uses = await store.write(
        lambda tx: list(
            store_usage.stream(tx, ["tag:team"], since=since, until=until, work_group="other")
        )
    )
    total = tally(uses, ["tag:team"])["a",]
    assert timedelta(microseconds=total.dpu_micros) == expected(tagged, since, until)


async def test_dpus_of_a_worker_are_the_same_in_sql(store: Store) -> None:
    for cores in range(1, 20):
        worker = Worker(
            driver_id=make_driver().id,
            executor_id="0",
            cores=cores,
            started_at=AT,
            ended_at=AT + timedelta(hours=1),
        )
        alone = make_session(active_at=AT, work_group=f"w{cores}")
        await store.write(lambda tx, pair=(alone, [worker]): write(tx, [pair]))  # type: ignore[misc]

        found = await store.read(
            lambda tx, name=alone.work_group: store_usage.used(  # type: ignore[misc]
                tx, name, AT, AT + timedelta(hours=1)
            )
        )

        assert found == (1 + executor.dpus(cores)) * timedelta(hours=1)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_budgets_sum_looks_at_its_period_only(store: Store) -> None:
    """By the query's plan: no table is walked through, and each part is a range of an index."""

    def plan(tx: Connection) -> list[str]:
        bound = store_usage.USED.params(work_group="spark", since=micros(AT), now=micros(NOW))
        text = str(bound.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
        return [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]

    steps = await store.read(plan)

    assert [s for s in steps if s.startswith("SCAN")] == ["SCAN anon_1"]
    of_sessions = [s for s in steps if "sessions_by_use" in s]
    assert len(of_sessions) == 2
    assert all("COVERING" in s and "ended_at" in s for s in of_sessions)
    assert len([s for s in steps if "executors_by_end (ended_at" in s]) == 2


# --- the rows of executors ---------------------------------------------------------------------


async def test_workers_come_back_and_keep_their_start(store: Store) -> None:
    driver = make_driver()
    worker = Worker(driver_id=driver.id, executor_id="0", cores=2, started_at=AT)

    await store.write(lambda tx: executors.record(tx, worker))
    moved = Worker(
        driver_id=driver.id, executor_id="0", cores=3, started_at=NOW, ended_at=NOW, failed=True
    )
    await store.write(lambda tx: executors.record(tx, moved))

    [found] = await store.read(
        lambda tx: executors.list_page(tx, driver.id, [Fate.FAILED], after=None, limit=9)
    )
    assert found == Worker(
        driver_id=driver.id, executor_id="0", cores=3, started_at=AT, ended_at=NOW, failed=True
    )
    for fate in (Fate.LIVES, Fate.ENDED):
        assert not await store.read(
            lambda tx, fate=fate: executors.list_page(  # type: ignore[misc]
                tx, driver.id, [fate], after=None, limit=9
            )
        )


async def test_a_driver_that_ends_takes_its_executors_with_it(store: Store) -> None:
    session, driver = make_session(), make_driver()
    driver = make_driver(session_id=session.id)
    lives, ended = (
        Worker(driver_id=driver.id, executor_id=n, cores=2, started_at=AT, ended_at=at)
        for n, at in (("0", None), ("1", AT + timedelta(seconds=1)))
    )

    def change(tx: Connection) -> None:
        write(tx, [(session, [lives, ended])])
        drivers.set_ended(tx, driver.id, NOW)

    await store.write(change)

    found = await store.read(lambda tx: executors.of_session(tx, session.id, EVER, NOW))
    assert [w.ended_at for w in sorted(found, key=lambda w: w.executor_id)] == [NOW, ended.ended_at]


# --- reading from outside ----------------------------------------------------------------------


def test_reading_where_there_is_nothing_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(NoDatabase, match="no server has run there"),
        reading(tmp_path / "sparkowl.db"),
    ):
        pass

    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.db").write_text("no database " * 1000)

    with pytest.raises(NoDatabase, match="cannot be read"), reading(tmp_path / "sparkowl.db"):
        pass

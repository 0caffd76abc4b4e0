"""``sparkowl usage``, on a data directory with a server and without one."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert
from tests.builders import make_driver, make_session
from tests.cli.commands import command
from tests.serving import serving, until

from sparkowl.domain.executor import Worker
from sparkowl.store import Store, drivers, executors, sessions, tables

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def hours(number: float) -> datetime:
    return NEW_YEAR + timedelta(hours=number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server left behind: four sessions around new year."""
    made = tmp_path_factory.mktemp("usage")
    lived = [
        ("spark", "ann", "a\x1b[31m", -2.0, 1.0),
        ("spark", "bob", "b", 5.0, 6.0),
        ("other", "ann", None, 30.0, 30.5),
        ("other", None, "b", None, None),
    ]

    def write(tx: Connection) -> None:
        for work_group, principal, team, since, end in lived:
            session = make_session(
                work_group=work_group,
                principal=principal,
                active_at=None if since is None else hours(since),
                ended_at=None if end is None else hours(end),
            )
            sessions.insert_session(tx, session)
            if team is not None:
                tag = {"resource": f"session/{session.id}", "key": "team", "value": team}
                tx.execute(insert(tables.tags).values(**tag))
            if principal == "bob":
                driver = make_driver(session_id=session.id)
                drivers.insert_driver(tx, driver)
                worker = Worker(
                    driver_id=driver.id, executor_id="0", cores=8, started_at=hours(5.5)
                )
                executors.record(tx, worker)

    async def fill() -> None:
        store = Store.open(made / "sparkowl.db")
        await store.write(write)
        store.close()

    asyncio.run(fill())
    return made


def table(folder: Path, *arguments: str) -> list[list[str]]:
    done = command("usage", "--data-dir", str(folder), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


def test_usage_is_by_workgroup_unless_something_else_is_asked_for(folder: Path) -> None:
    assert table(folder) == [
        ["WORKGROUP", "SESSIONS", "DPU_HOURS"],
        ["other", "1", "0.500"],
        ["spark", "2", "5.000"],
    ]


def test_a_session_over_midnight_is_split_between_its_days(folder: Path) -> None:
    assert table(folder, "--by", "day", "--by", "workgroup") == [
        ["DAY", "WORKGROUP", "SESSIONS", "DPU_HOURS"],
        ["2025-12-31", "spark", "1", "2.000"],
        ["2026-01-01", "spark", "2", "3.000"],
        ["2026-01-02", "other", "1", "0.500"],
    ]


def test_a_tag_of_a_caller_is_shown_without_what_a_terminal_would_obey(folder: Path) -> None:
    assert table(folder, "--by", "tag:team", "--by", "principal") == [
        ["TAG:TEAM", "PRINCIPAL", "SESSIONS", "DPU_HOURS"],
        ["-", "ann", "1", "0.500"],
        ["a", "[31m", "ann", "1", "3.000"],
        ["b", "bob", "1", "2.000"],
    ]


@pytest.mark.parametrize(
    ("window", "spark"),
    [
        (("--since", "2026-01-01"), "3.000"),
        (("--until", "2026-01-01T00:00Z"), "2.000"),
        (("--since", "2026-01-01T05:45Z", "--until", "2026-01-02"), "0.750"),
        (("--since", "2026-01-01T07:45+02:00", "--until", "2026-01-02"), "0.750"),
    ],
)
def test_a_window_cuts_sessions(folder: Path, window: tuple[str, ...], spark: str) -> None:
    [_, line] = table(folder, *window, "--workgroup", "spark")

    assert line[-1] == spark


def test_json_holds_the_same(folder: Path) -> None:
    rows = json.loads("".join(command("usage", "--data-dir", str(folder), "--json").stdout))

    assert rows == [
        {"workgroup": "other", "sessions": 1, "dpu_hours": 0.5},
        {"workgroup": "spark", "sessions": 2, "dpu_hours": 5.0},
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "team"), "--by team: say workgroup, day, principal or tag:KEY."),
        (("--by", "tag:"), "--by tag:: say workgroup"),
        (("--since", "soon"), "--since soon: give a day"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "--since is later than"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = command("usage", "--data-dir", str(folder), *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    done = command("usage", "--data-dir", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith("There is no database ")
    assert list(tmp_path.iterdir()) == []


def test_it_works_beside_a_server_and_counts_what_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        athena: Any = server.client()
        started = athena.start_session(WorkGroup="spark", EngineConfiguration={})
        session_id = started["SessionId"]

        def is_idle() -> bool:
            found = athena.get_session_status(SessionId=session_id)
            return bool(found["Status"]["State"] == "IDLE")

        until(is_idle)
        first, second = (
            json.loads(command("usage", "--json", "--data-dir", str(tmp_path)).stdout)
            for _ in range(2)
        )

        assert [row["sessions"] for row in (*first, *second)] == [1, 1]
        assert 0 < first[0]["dpu_hours"] < second[0]["dpu_hours"]

"""No call costs more when the history grows: what SQLite plans for every statement of one.

Not timed: each operation is called on a database with a past, every statement that it runs is
caught, and SQLite is asked how it runs it, as it does in a database that nobody has analysed and
in one whose statistics are there.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmarks import history
from sqlalchemy import event
from tests.builders import make_context

from sparkowl.clock import System
from sparkowl.domain.limits import Limits, Quota
from sparkowl.domain.notebook import empty
from sparkowl.operations import OPERATIONS, Context
from sparkowl.store import Store, calculations, drivers, load, sessions
from sparkowl.store.engine import sqlite

#: Tables that grow for ever. Workgroups are at most a thousand, principals and keys are few.
GROWING = {
    "sessions", "session_events", "calculations", "calculation_events", "drivers", "executors",
    "request_tokens", "tags", "notebook_versions",
}  # fmt: skip
ARN = "arn:aws:athena:us-east-1:000000000000:workgroup/spark"
TOKEN = "t" * 32
START = {"WorkGroup": "spark", "EngineConfiguration": {}}


@dataclass(slots=True)
class Caught:
    """The statements that were run, each once."""

    statements: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            self.statements[statement] = parameters


@dataclass(frozen=True, slots=True)
class Place:
    store: Store
    caught: Caught
    path: Path

    def context(self, **limits: Any) -> Context:
        return make_context(self.store, clock=System(), limits=Limits(account=Quota(), **limits))

    def plans(self) -> Iterator[tuple[str, list[str]]]:
        """Each statement that was caught, and the lines of its plan."""
        with closing(sqlite3.connect(self.path)) as database:
            for statement, parameters in self.caught.statements.items():
                first = parameters[0] if isinstance(parameters, list) else parameters
                rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", first)
                yield statement, [str(row[3]) for row in rows]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a past; each test works on a copy."""
    path = tmp_path_factory.mktemp("past") / "past.db"
    history.fill(path, 3_000, 20)
    return path


@pytest.fixture(params=["never analysed", "analysed"])
def place(request: pytest.FixtureRequest, past: Path, tmp_path: Path) -> Iterator[Place]:
    path = tmp_path / "copy.db"
    path.write_bytes(past.read_bytes())
    if request.param == "analysed":
        with closing(sqlite3.connect(path)) as database:
            database.execute("ANALYZE")
            database.commit()
    on_disk, caught = sqlite(path), Caught()
    event.listen(on_disk.engine, "before_cursor_execute", caught)
    store = Store(on_disk)
    yield Place(store, caught, path)
    store.close()


def scans(plan: list[str]) -> list[str]:
    """The lines that read a growing table, or an index of it, or all of a workgroup's part of it,
    from end to end."""
    found = []
    for line in plan:
        read = re.match(r"SCAN (\w+)|SEARCH (\w+) .*\((ANY\(|work_group=\?\))", line)
        if read is not None and GROWING.intersection(read.groups()):
            found.append(line)
    return found


def token_of(operation: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    token = answer.get("NextToken")
    assert token is not None, f"{operation} has no second page"
    return {"NextToken": token}


async def call_everything(place: Place, context: Context) -> set[str]:
    """Every operation, the lists with each kind of filter and a second page; their names."""
    called = set()

    async def call(operation: str, **request: Any) -> dict[str, Any]:
        called.add(operation)
        return await OPERATIONS[operation](context, request)

    async def pages(operation: str, **request: Any) -> None:
        first = await call(operation, MaxResults=1, **request)
        await call(operation, MaxResults=1, **request, **token_of(operation, first))

    busiest = {"SessionId": history.BUSIEST}
    made = await call("StartSession", **START, ClientRequestToken=TOKEN, Tags=[{"Key": "a"}])
    await call("StartSession", **START, ClientRequestToken=TOKEN, Tags=[{"Key": "a"}])
    paged = await call("StartSession", **START, NotebookVersion="Athena notebook version 1")
    await call("CreatePresignedNotebookUrl", SessionId=paged["SessionId"])
    session = {"SessionId": made["SessionId"]}
    for operation in ("GetSession", "GetSessionStatus", "ListExecutors"):
        await call(operation, **session)
        await call(operation, **busiest)
    await pages("ListSessions", WorkGroup="spark")
    for state in ("CREATING", "TERMINATED", "FAILED"):
        await call("ListSessions", WorkGroup="spark", StateFilter=state)
    await pages("ListSessions", WorkGroup="spark", StateFilter="TERMINATED")
    await place.store.write(lambda tx: _idle(tx, session["SessionId"]))
    block = await call("StartCalculationExecution", **session, CodeBlock="1",
                       ClientRequestToken=TOKEN)  # fmt: skip
    calculation = {"CalculationExecutionId": block["CalculationExecutionId"]}
    for operation in ("", "Status", "Code"):
        await call(f"GetCalculationExecution{operation}", **calculation)
    await call("StopCalculationExecution", **calculation)
    await pages("ListCalculationExecutions", **busiest)
    await pages("ListCalculationExecutions", **busiest, StateFilter="FAILED")
    await call("TerminateSession", **session)
    book = await call("CreateNotebook", WorkGroup="spark", Name="a", ClientRequestToken=TOKEN)
    content = {"Type": "IPYNB", "Payload": empty()}
    other = await call("ImportNotebook", WorkGroup="spark", Name="b", **content)
    await pages("ListNotebookMetadata", WorkGroup="spark")
    await call("ListNotebookMetadata", WorkGroup="spark", Filters={"Name": "b"})
    for operation in ("ExportNotebook", "GetNotebookMetadata", "ListNotebookSessions"):
        await call(operation, **book)
    content["Payload"] += " "
    await call("UpdateNotebook", **book, **content, ClientRequestToken=TOKEN)
    await call("UpdateNotebookMetadata", **book, Name="c", ClientRequestToken=TOKEN)
    await call("DeleteNotebook", **other)
    await call("CreateWorkGroup", Name="new", Tags=[{"Key": "a"}])
    await call("UpdateWorkGroup", WorkGroup="new", Description="x")
    await call("GetWorkGroup", WorkGroup="new")
    await call("DeleteWorkGroup", WorkGroup="spark", RecursiveDeleteOption=True)
    await pages("ListWorkGroups")
    group = ARN.replace("spark", "new")
    for arn in (group, f"{ARN}/session/{made['SessionId']}"):
        await call("TagResource", ResourceARN=arn, Tags=[{"Key": "b"}, {"Key": "c"}])
        await pages("ListTagsForResource", ResourceARN=arn)
        await call("UntagResource", ResourceARN=arn, TagKeys=["b"])
    await pages("ListEngineVersions")
    await call("ListApplicationDPUSizes")
    return called


def _idle(tx: Any, session_id: str) -> None:
    tx.exec_driver_sql(
        "UPDATE sessions SET state = 'IDLE', version = version + 1 WHERE id = ?", (session_id,)
    )


@pytest.mark.parametrize("queue", [False, True])
async def test_no_operation_reads_a_table_that_grows_from_end_to_end(
    place: Place, queue: bool
) -> None:
    called = await call_everything(place, place.context(queue_when_full=queue))

    found = {statement: scans(plan) for statement, plan in place.plans()}
    assert called == set(OPERATIONS)
    assert len(found) > 30
    assert {statement: lines for statement, lines in found.items() if lines} == {}


async def test_neither_does_the_supervisor_when_it_starts_or_looks_around(place: Place) -> None:
    for read in (
        sessions.list_live,
        drivers.list_live,
        drivers.count_starting,
        load.waiting,
        partial(load.in_use, placed_only=False),
        partial(calculations.active, session_id=history.BUSIEST),
        partial(calculations.unfinished, session_id=history.BUSIEST),
        partial(calculations.canceling, session_id=history.BUSIEST),
        partial(calculations.latest_submission, session_id=history.BUSIEST),
        partial(sessions.history, session_id=history.BUSIEST),
    ):
        await place.store.read(read)

    plans = dict(place.plans())
    assert len(plans) == 11
    assert [scans(plan) for plan in plans.values()] == [[]] * 11
    # Of the session with most calculations, those that have ended are not looked at.
    some = [
        plan
        for statement, plan in plans.items()
        if "calculations.state" in statement.partition("WHERE")[2]
    ]
    assert len(some) == 3
    for plan in some:
        assert "calculations_by_state (session_id=? AND state=?)" in plan[0]
    [latest] = [
        plan for text, plan in plans.items() if "ORDER BY calculations.submitted_at DESC" in text
    ]
    assert "calculations_by_age (session_id=?)" in latest[0]
    assert len(latest) == 1


@pytest.mark.parametrize(
    ("operation", "request_", "index"),
    [
        ("ListSessions", {"WorkGroup": "spark", "StateFilter": "TERMINATED"}, "sessions_by_state"),
        ("ListSessions", {"WorkGroup": "spark", "StateFilter": "FAILED"}, "sessions_by_state"),
        ("ListCalculationExecutions", {"SessionId": history.BUSIEST}, "calculations_by_age"),
        (
            "ListCalculationExecutions",
            {"SessionId": history.BUSIEST, "StateFilter": "FAILED"},
            "calculations_by_state",
        ),
    ],
)
async def test_a_page_of_a_long_list_is_read_in_order_from_its_index_and_never_sorted(
    place: Place, operation: str, request_: dict[str, Any], index: str
) -> None:
    context = place.context()
    first = await OPERATIONS[operation](context, request_ | {"MaxResults": 3})
    place.caught.statements.clear()

    for page in ({}, token_of(operation, first)):
        await OPERATIONS[operation](context, request_ | {"MaxResults": 3} | page)

    table = "sessions" if operation == "ListSessions" else "calculations"
    plans = [plan for statement, plan in place.plans() if f"ORDER BY {table}." in statement]
    assert len(plans) == 2
    for plan in plans:
        assert len(plan) == 1, plan
        assert f"SEARCH {table} USING INDEX {index} " in plan[0]


async def test_a_page_of_notebooks_is_read_in_order_from_its_index_and_never_sorted(
    place: Place,
) -> None:
    context = place.context()
    for name in ("a", "b"):
        await OPERATIONS["CreateNotebook"](context, {"WorkGroup": "spark", "Name": name})
    request = {"WorkGroup": "spark", "Filters": {"Name": "a"}, "MaxResults": 1}
    first = await OPERATIONS["ListNotebookMetadata"](context, {**request, "Filters": {}})
    place.caught.statements.clear()

    for page in ({}, {"Filters": {}, **token_of("ListNotebookMetadata", first)}):
        await OPERATIONS["ListNotebookMetadata"](context, request | page)

    plans = [plan for statement, plan in place.plans() if "ORDER BY notebooks." in statement]
    assert len(plans) == 2
    for plan in plans:
        assert len(plan) == 1, plan
        assert "SEARCH notebooks USING INDEX notebooks_by_age " in plan[0]


async def test_the_sessions_of_a_notebook_are_found_by_it(place: Place) -> None:
    context = place.context()
    made = await OPERATIONS["CreateNotebook"](context, {"WorkGroup": "spark", "Name": "a"})
    place.caught.statements.clear()

    await OPERATIONS["ListNotebookSessions"](context, made)

    [plan] = [plan for text, plan in place.plans() if "ORDER BY sessions." in text]
    assert "sessions_by_notebook (notebook_id=? AND ended_at=?)" in plan[0]


async def test_the_active_sessions_are_found_among_those_that_live(place: Place) -> None:
    await OPERATIONS["ListSessions"](place.context(), {"WorkGroup": "spark"})

    [plan] = [plan for text, plan in place.plans() if "ORDER BY sessions." in text]
    assert re.search(r"USING INDEX sessions_(active|live|by_state) ", plan[0])


async def test_the_checks_see_a_scan(place: Place) -> None:
    await place.store.read(lambda tx: tx.exec_driver_sql("SELECT * FROM sessions").all())
    await place.store.read(
        lambda tx: tx.exec_driver_sql("SELECT id FROM sessions WHERE reason = 'x'").all()
    )

    assert [len(scans(plan)) for _, plan in place.plans()] == [1, 1]


def test_the_history_is_as_a_server_would_have_written_it(past: Path) -> None:
    with closing(sqlite3.connect(past)) as database:
        count = {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in GROWING - {"calculation_events", "notebook_versions"}
        }
        live = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"
        bad = database.execute("PRAGMA foreign_key_check").fetchall()
        [(request,)] = database.execute("SELECT request FROM sessions LIMIT 1").fetchall()

        assert min(count.values()) >= 3_000
        assert database.execute(live).fetchone() == (0,)
    assert bad == []
    assert json.loads(request)["EngineConfiguration"]

"""ListExecutors: the driver of a session and the workers that Spark gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import executor as domain
from sparkowl.domain.driver import Driver
from sparkowl.domain.executor import Executor, State
from sparkowl.domain.session import Session
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import drivers, executors, sessions
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]


async def list_executors(ctx: Context, request: Input) -> Output:
    """Newest first: the workers that Spark reports, and the coordinator, which began before them.

    On one machine the coordinator is the only one.
    """
    session_id = request["SessionId"]
    name = request.get("ExecutorStateFilter")
    asked = None if name is None else State(name)

    def read(tx: Connection) -> Output:
        session = sessions.get(tx, session_id)
        driver = drivers.of_session(tx, session_id)
        rows, token = Pages(ctx.paging_key, "ListExecutors", request, 100).page(
            lambda after, limit: _executors(tx, session, driver, asked, after, limit),
            lambda placed: placed[0],
        )
        return {
            "SessionId": session_id,
            "ExecutorsSummary": [_executor(executor) for _, executor in rows],
            "NextToken": token,
        }

    return await ctx.store.read(read)


#: Where an executor stands in the list: its start in microseconds, and Spark's id. The coordinator
#: stands behind all others: with no start and no id.
_Place = tuple[int, str]
_LAST: Final[_Place] = (0, "")


def _executors(  # noqa: PLR0913  what it is asked for, and the page of it
    tx: Connection,
    session: Session,
    driver: Driver | None,
    asked: State | None,
    after: _Place | None,
    limit: int,
) -> list[tuple[_Place, Executor]]:
    if driver is None or after == _LAST:
        return []
    fates = domain.fates_in(session, driver, asked)
    placed = [
        ((micros(seen.started_at), seen.executor_id), domain.worker(session, driver, seen))
        for seen in executors.list_page(tx, driver.id, fates, after=after, limit=limit)
    ]
    last = domain.coordinator(session, driver)
    if asked in {None, last.state}:
        placed.append((_LAST, last))
    return placed[:limit]


def _executor(executor: Executor) -> Output:
    """Times are milliseconds: the model has plain longs here and states no unit."""
    return {
        "ExecutorId": executor.id,
        "ExecutorType": executor.type,
        "ExecutorState": executor.state,
        "ExecutorSize": executor.dpus,
        "StartDateTime": round(executor.started_at.timestamp() * 1000),
        "TerminationDateTime": executor.ended_at and round(executor.ended_at.timestamp() * 1000),
    }

"""The session operations: StartSession to TerminateSession, and ListExecutors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import limits, properties
from sparkowl.domain import session as domain
from sparkowl.domain.driver import fingerprint
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.executor import Executor, coordinator
from sparkowl.domain.ids import SessionId, new_session_id
from sparkowl.domain.role import WHY_COLD
from sparkowl.domain.session import Session, State
from sparkowl.domain.workgroup import WorkGroup, require_spark
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import drivers, sessions, tokens, workgroups
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]

#: Members of StartSession that the session keeps to be read back.
_KEPT: Final = (
    "EngineConfiguration",
    "ExecutionRole",
    "MonitoringConfiguration",
    "NotebookVersion",
    "Tags",
    "CopyWorkGroupTags",
)
#: The one classification that Athena's Spark engines take.
_CLASSIFICATION: Final = "spark-defaults"


async def start_session(ctx: Context, request: Input) -> Output:
    """A new session: CREATED with a warm driver, else CREATING.

    The row is all that is written here. The supervisor, once woken, launches or adopts a driver.
    """
    _check_configuration(request)

    def start(tx: Connection) -> Session:
        known = tokens.find(tx, "StartSession", request)
        if known is not None:
            return sessions.get(tx, known)
        work_group = workgroups.get(tx, request["WorkGroup"])
        require_spark(work_group)
        size = request["EngineConfiguration"].get(
            "MaxConcurrentDpus", limits.DEFAULT_MAX_CONCURRENT_DPUS
        )
        ctx.limits.allow_session(size, live_sessions=sessions.count_live(tx))
        session = _new_session(ctx, tx, request, work_group)
        sessions.insert_session(tx, session)
        tokens.insert_token(tx, "StartSession", request, session.id, session.created_at)
        return session

    session = await ctx.store.write(start)
    ctx.wake(session.id)
    return {"SessionId": session.id, "State": session.state}


def _check_configuration(request: Input) -> None:
    configuration = request["EngineConfiguration"]
    if "NotebookId" in configuration.get("AdditionalConfigs", {}):
        if "NotebookVersion" not in request:
            raise InvalidRequest("NotebookVersion is required when NotebookId is provided.")
        raise InvalidRequest(
            "EngineConfiguration.AdditionalConfigs.NotebookId: SparkOwl has no notebooks yet."
        )
    for classification in configuration.get("Classifications", ()):
        if classification.get("Name") != _CLASSIFICATION:
            raise InvalidRequest(
                "EngineConfiguration.Classifications: Name must be spark-defaults, "
                f"not {classification.get('Name')}."
            )


def _new_session(ctx: Context, tx: Connection, request: Input, work_group: WorkGroup) -> Session:
    now = ctx.clock.now()
    session_id = new_session_id()
    minutes = request.get("SessionIdleTimeoutInMinutes")
    idle_timeout = limits.DEFAULT_IDLE_TIMEOUT if minutes is None else timedelta(minutes=minutes)
    kept = {name: request[name] for name in _KEPT if name in request}
    session = Session(
        id=session_id,
        work_group=work_group.name,
        state=State.CREATING,
        engine_version=work_group.engine_version,
        description=request.get("Description"),
        request=kept,
        idle_timeout=idle_timeout,
        output_location=work_group.output_location or ctx.output_location,
        created_at=now,
        modified_at=now,
        timeline={"asked": now.timestamp()},
    )
    if ctx.roles.of(session) is not None:
        return domain.created_cold(session, why=WHY_COLD)
    return _with_warm_driver(tx, session, now)


def _with_warm_driver(tx: Connection, session: Session, now: datetime) -> Session:
    """The session as CREATED if a warm driver fits; the driver is then taken."""
    review = properties.review(session.spark_properties)
    if review.refused:
        return domain.created_cold(session, why="its properties are refused")
    wanted = fingerprint(session.engine_version, review.at_launch)
    if drivers.take_warm(tx, wanted, session.id) is not None:
        return domain.created_warm(session, at=now)
    if review.at_launch:
        keys = ", ".join(review.at_launch)
        return domain.created_cold(session, why=f"properties that are fixed at launch: {keys}")
    return domain.created_cold(session, why="no warm driver was ready")


async def get_session(ctx: Context, request: Input) -> Output:
    session = await ctx.store.read(lambda tx: sessions.get(tx, request["SessionId"]))
    kept = session.request
    seconds = int(session.idle_timeout.total_seconds())
    until = session.ended_at or ctx.clock.now()
    return {
        "SessionId": session.id,
        "Description": session.description,
        "WorkGroup": session.work_group,
        "EngineVersion": session.engine_version,
        "EngineConfiguration": kept.get("EngineConfiguration"),
        "NotebookVersion": kept.get("NotebookVersion"),
        "MonitoringConfiguration": kept.get("MonitoringConfiguration"),
        "SessionConfiguration": {
            "ExecutionRole": kept.get("ExecutionRole"),
            "WorkingDirectory": session.working_directory,
            "IdleTimeoutSeconds": seconds,
            "SessionIdleTimeoutInMinutes": seconds // 60,
        },
        "Status": _status(session),
        "Statistics": {"DpuExecutionInMillis": limits.dpu_millis(session.active_at, until)},
    }


async def get_session_status(ctx: Context, request: Input) -> Output:
    session = await ctx.store.read(lambda tx: sessions.get(tx, request["SessionId"]))
    return {"SessionId": session.id, "Status": _status(session)}


async def list_sessions(ctx: Context, request: Input) -> Output:
    """Newest first; without a state, those that are active, as AWS documents it."""
    asked = request.get("StateFilter")
    states = domain.ACTIVE if asked is None else frozenset({State(asked)})
    name = request["WorkGroup"]

    def read(tx: Connection) -> Output:
        workgroups.get(tx, name)
        rows, token = Pages(ctx.paging_key, "ListSessions", request, 100).page(
            lambda after, limit: sessions.list_page(tx, name, states, after=after, limit=limit),
            lambda session: (micros(session.created_at), session.id),
        )
        return {"Sessions": [_summary(session) for session in rows], "NextToken": token}

    return await ctx.store.read(read)


async def terminate_session(ctx: Context, request: Input) -> Output:
    """TERMINATING; a session that has ended or is ending stays as it is, which is a success."""
    session_id = request["SessionId"]
    now = ctx.clock.now()
    session = await ctx.store.write(
        lambda tx: sessions.change(
            tx,
            session_id,
            domain.Event.TERMINATE_ASKED,
            at=now,
            reason=domain.TERMINATED_REASON,
        )
    )
    ctx.wake(session.id)
    return {"State": session.state}


async def list_executors(ctx: Context, request: Input) -> Output:
    """Newest first. On one machine a session has one executor: its coordinator."""
    session_id = request["SessionId"]
    asked = request.get("ExecutorStateFilter")

    def fetch(tx: Connection, after: Any) -> list[Executor]:
        session = sessions.get(tx, session_id)
        driver = drivers.of_session(tx, SessionId(session_id))
        executors = [] if driver is None else [coordinator(session, driver)]
        return [
            executor
            for executor in executors
            if after is None and (asked is None or executor.state == asked)
        ]

    def read(tx: Connection) -> Output:
        rows, token = Pages(ctx.paging_key, "ListExecutors", request, 100).page(
            lambda after, limit: fetch(tx, after)[:limit],
            lambda executor: executor.id,
        )
        return {
            "SessionId": session_id,
            "ExecutorsSummary": [_executor(executor) for executor in rows],
            "NextToken": token,
        }

    return await ctx.store.read(read)


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


def _status(session: Session) -> Output:
    return {
        "State": session.state,
        "StateChangeReason": session.reason,
        "StartDateTime": session.created_at,
        "LastModifiedDateTime": session.modified_at,
        "IdleSinceDateTime": session.idle_since,
        "EndDateTime": session.ended_at,
    }


def _summary(session: Session) -> Output:
    """Here EngineVersion is a structure; in GetSession it is a string."""
    return {
        "SessionId": session.id,
        "Description": session.description,
        "EngineVersion": {
            "SelectedEngineVersion": session.engine_version,
            "EffectiveEngineVersion": session.engine_version,
        },
        "NotebookVersion": session.request.get("NotebookVersion"),
        "Status": _status(session),
    }

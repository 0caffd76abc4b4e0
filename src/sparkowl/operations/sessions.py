"""The session operations: StartSession to TerminateSession, and ListExecutors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import engine, limits, properties, tags
from sparkowl.domain import executor as executor_domain
from sparkowl.domain import session as domain
from sparkowl.domain.arns import Resource
from sparkowl.domain.driver import Driver, fingerprint
from sparkowl.domain.errors import InvalidRequest, TooManyRequests
from sparkowl.domain.executor import Executor
from sparkowl.domain.executor import State as ExecutorState
from sparkowl.domain.ids import new_session_id
from sparkowl.domain.role import WHY_COLD
from sparkowl.domain.session import Session, State
from sparkowl.domain.sparks import OWN, Spark
from sparkowl.domain.usage import dpu_millis
from sparkowl.domain.workgroup import WorkGroup, require_spark
from sparkowl.operations.budgets import require_budget
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import drivers, executors, load, sessions, tokens, workgroups
from sparkowl.store import tags as tag_rows
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]

#: Members of StartSession that its workgroup may have defaults for.
_DEFAULTED: Final = ("ExecutionRole", "MonitoringConfiguration")


async def start_session(ctx: Context, request: Input) -> Output:
    """A new session: CREATED with a warm driver, else CREATING.

    The row is all that is written here. The supervisor, once woken, launches or adopts a driver.
    """
    asked = tokens.Asked("StartSession", ctx.caller.name, request)

    def start(tx: Connection) -> Session:
        known = tokens.find(tx, asked)
        if known is not None:
            return sessions.get(tx, known)
        work_group = workgroups.get(tx, request["WorkGroup"])
        require_spark(work_group)
        require_budget(ctx, tx, work_group.name)
        session = _new_session(ctx, request, work_group)
        if _has_turn(ctx, tx, work_group):
            session = _with_driver(ctx, tx, session)
        else:
            session = domain.created_cold(session, why="there was no room; it waited in the queue")
        sessions.insert_session(tx, session)
        tag_rows.put(tx, Resource(work_group.name, session.id).key, _tags(tx, request, work_group))
        tokens.insert_token(tx, asked, session.id, session.created_at)
        return session

    session = await ctx.store.write(start)
    ctx.wake(session.id)
    return {"SessionId": session.id, "State": session.state}


def _new_session(ctx: Context, request: Input, work_group: WorkGroup) -> Session:
    """The session as it was asked for, with its workgroup's defaults; not yet placed anywhere."""
    now = ctx.clock.now()
    session_id = new_session_id()
    minutes = request.get("SessionIdleTimeoutInMinutes")
    idle_timeout = limits.DEFAULT_IDLE_TIMEOUT if minutes is None else timedelta(minutes=minutes)
    return Session(
        id=session_id,
        work_group=work_group.name,
        state=State.CREATING,
        engine_version=work_group.engine_version,
        description=request.get("Description"),
        request=_effective(ctx, request, work_group),
        idle_timeout=idle_timeout,
        output_location=work_group.output_location or ctx.output_location,
        created_at=now,
        modified_at=now,
        timeline={"asked": now.timestamp()},
        principal=ctx.caller.name,
    )


def _effective(ctx: Context, request: Input, work_group: WorkGroup) -> Output:
    """The members of StartSession that the session keeps: checked, over the workgroup's own."""
    asked = request["EngineConfiguration"]
    engine.require_takes(work_group.engine_version, asked)
    if "NotebookId" in asked.get("AdditionalConfigs", {}):
        if "NotebookVersion" not in request:
            raise InvalidRequest("NotebookVersion is required when NotebookId is provided.")
        raise InvalidRequest(
            "EngineConfiguration.AdditionalConfigs.NotebookId: SparkOwl has no notebooks yet."
        )
    kept = {}
    if "NotebookVersion" in request:
        engine.require_notebooks(work_group.engine_version)
        kept["NotebookVersion"] = request["NotebookVersion"]
    defaults = work_group.configuration
    known = ctx.sparks.of(work_group.engine_version).known
    configuration = engine.merged(
        defaults.get("EngineConfiguration", {}), asked, lambda key: properties.canonical(key, known)
    )
    if "MaxConcurrentDpus" in configuration:
        ctx.limits.require_size(configuration["MaxConcurrentDpus"])
    for name in _DEFAULTED:
        value = request.get(name, defaults.get(name))
        if value is not None:
            kept[name] = value
    return {"EngineConfiguration": configuration, **kept}


def _tags(tx: Connection, request: Input, work_group: WorkGroup) -> Mapping[str, str]:
    """The session's own tags over those of its workgroup, unless these are not to be copied."""
    own = tags.from_request(request.get("Tags", ()))
    if not request.get("CopyWorkGroupTags", True):
        return tags.with_added({}, own)
    return tags.with_added(tag_rows.of(tx, Resource(work_group.name).key), own)


def _has_turn(ctx: Context, tx: Connection, work_group: WorkGroup) -> bool:
    """Whether the session may have a driver now. False: it queues; if it may not, this raises."""
    queues = ctx.limits.queue_when_full
    full = ctx.limits.full(work_group.name, load.in_use(tx, placed_only=queues))
    if not queues:
        if full is not None:
            raise TooManyRequests(f"{full}.")
        return True
    waiting = load.waiting(tx)
    if full is None and not waiting:
        return True
    ctx.limits.require_place(len(waiting))
    return False


def _with_driver(ctx: Context, tx: Connection, session: Session) -> Session:
    """The session with a warm driver, or on its way to one of its own."""
    if ctx.roles.of(session) is not None:
        session = domain.created_cold(session, why=WHY_COLD)
    else:
        session = _with_warm_driver(tx, session, ctx.sparks.of(session.engine_version))
    if session.state is State.CREATING and not ctx.limits.queue_when_full:
        starting = drivers.count_starting(tx) + len(load.waiting(tx))
        lack = ctx.room(starting)
        if lack is not None:
            raise TooManyRequests(f"{limits.NO_CAPACITY}: {lack}.")
    return session


def _with_warm_driver(tx: Connection, session: Session, spark: Spark) -> Session:
    """The session as CREATED if a warm driver fits; the driver is then taken."""
    review = properties.review(session.spark_properties, spark.known)
    if review.refused:
        return domain.created_cold(session, why="its properties are refused")
    wanted = fingerprint(spark.environment, review.at_launch)
    if drivers.take_warm(tx, wanted, session.id) is not None:
        return domain.created_warm(session, at=session.created_at)
    if review.at_launch:
        keys = ", ".join(review.at_launch)
        return domain.created_cold(session, why=f"properties that are fixed at launch: {keys}")
    if spark.environment != OWN:
        return domain.created_cold(session, why="its engine has an environment of its own")
    return domain.created_cold(session, why="no warm driver was ready")


async def get_session(ctx: Context, request: Input) -> Output:
    now = ctx.clock.now()

    def read(tx: Connection) -> tuple[Session, int]:
        session = _read(tx, request["SessionId"])
        since, until = session.active_at, session.ended_at or now
        workers = executors.of_session(tx, session.id, since, until) if since else ()
        return session, dpu_millis(since, until, workers)

    session, millis = await ctx.store.read(read)
    kept = session.request
    seconds = int(session.idle_timeout.total_seconds())
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
        "Statistics": {"DpuExecutionInMillis": millis},
    }


async def get_session_status(ctx: Context, request: Input) -> Output:
    session = await ctx.store.read(lambda tx: _read(tx, request["SessionId"]))
    return {"SessionId": session.id, "Status": _status(session)}


def _read(tx: Connection, session_id: str) -> Session:
    [session] = _with_places(tx, [sessions.get(tx, session_id)])
    return session


def _with_places(tx: Connection, found: Sequence[Session]) -> list[Session]:
    """The sessions; of one that waits for a driver, the reason says at which place."""
    if all(session.state is not State.CREATING for session in found):
        return list(found)
    line = [waiting.session_id for waiting in load.waiting(tx)]
    places = {session_id: place for place, session_id in enumerate(line, start=1)}
    return [
        replace(session, reason=domain.queued_reason(places[session.id], len(line)))
        if session.id in places
        else session
        for session in found
    ]


async def list_sessions(ctx: Context, request: Input) -> Output:
    """Newest first; without a state, those that are active, as AWS documents it."""
    asked = request.get("StateFilter")
    states = domain.ACTIVE if asked is None else frozenset({State(asked)})

    def read(tx: Connection) -> Output:
        work_group = workgroups.get(tx, request["WorkGroup"])
        rows, token = Pages(ctx.paging_key, "ListSessions", request, 100).page(
            lambda after, limit: sessions.list_page(
                tx, work_group, states, after=after, limit=limit
            ),
            lambda session: (micros(session.created_at), session.id),
        )
        summaries = [_summary(session) for session in _with_places(tx, rows)]
        return {"Sessions": summaries, "NextToken": token}

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
    """Newest first: the workers that Spark reports, and the coordinator, which began before them.

    On one machine the coordinator is the only one.
    """
    session_id = request["SessionId"]
    name = request.get("ExecutorStateFilter")
    asked = None if name is None else ExecutorState(name)

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
    asked: ExecutorState | None,
    after: _Place | None,
    limit: int,
) -> list[tuple[_Place, Executor]]:
    if driver is None or after == _LAST:
        return []
    fates = executor_domain.fates_in(session, driver, asked)
    placed = [
        ((micros(seen.started_at), seen.executor_id), executor_domain.worker(session, driver, seen))
        for seen in executors.list_page(tx, driver.id, fates, after=after, limit=limit)
    ]
    last = executor_domain.coordinator(session, driver)
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

"""StartSession: what was asked for, checked and over its workgroup's defaults, becomes a row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import engine, limits, properties, tags
from sparkowl.domain import opening as notebook
from sparkowl.domain import session as domain
from sparkowl.domain.arns import Resource
from sparkowl.domain.driver import fingerprint
from sparkowl.domain.errors import TooManyRequests
from sparkowl.domain.ids import new_session_id
from sparkowl.domain.opening import Opening, S3File
from sparkowl.domain.role import WHY_COLD
from sparkowl.domain.session import Session, State
from sparkowl.domain.sparks import OWN, Spark
from sparkowl.domain.workgroup import WorkGroup, require_spark
from sparkowl.operations.budgets import require_budget
from sparkowl.operations.context import Context
from sparkowl.operations.opening import opened, read_file, require_allowed
from sparkowl.store import drivers, load, sessions, tokens, workgroups
from sparkowl.store import tags as tag_rows

Input = Mapping[str, Any]
Output = dict[str, Any]

#: Members of StartSession that its workgroup may have defaults for.
_DEFAULTED: Final = ("ExecutionRole", "MonitoringConfiguration")


async def start_session(ctx: Context, request: Input) -> Output:
    """A new session: CREATED with a warm driver, else CREATING.

    The row is all that is written here. The supervisor, once woken, launches or adopts a driver.
    """
    asked = tokens.Asked("StartSession", ctx.caller.name, request)
    opening = notebook.asked(request)
    payload = await _payload(ctx, request, asked, opening)

    def start(tx: Connection) -> Session:
        known = tokens.find(tx, asked)
        if known is not None:
            return sessions.get(tx, known)
        work_group = workgroups.get(tx, request["WorkGroup"])
        require_spark(work_group)
        require_budget(ctx, tx, work_group.name)
        session = _new_session(ctx, request, work_group)
        require_allowed(ctx, opening)
        session = opened(ctx, tx, session, opening, payload)
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


async def _payload(
    ctx: Context, request: Input, asked: tokens.Asked, opening: Opening
) -> str | None:
    """The content of the object that becomes the session's notebook; None where there is none, and
    where the session was made before: the object may be gone by now."""
    file = opening.file
    if not isinstance(file, S3File):
        return None

    def made_before(tx: Connection) -> bool:
        if tokens.find(tx, asked) is not None:
            return True
        # What is refused anyway need not be read for.
        work_group = workgroups.get(tx, request["WorkGroup"])
        require_spark(work_group)
        _effective(ctx, request, work_group)
        return False

    return None if await ctx.store.read(made_before) else await read_file(ctx, file)


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
        server=ctx.server,
    )


def _effective(ctx: Context, request: Input, work_group: WorkGroup) -> Output:
    """The members of StartSession that the session keeps: checked, over the workgroup's own."""
    asked = request["EngineConfiguration"]
    engine.require_takes(work_group.engine_version, asked)
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
    asked_for = work_group.encryption
    ctx.encrypting.require(asked_for, work_group.name)
    if asked_for is not None:
        kept["EncryptionConfiguration"] = asked_for.members
    if ctx.key_sources is not None:
        ctx.key_sources.require(kept.get("ExecutionRole"))
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
    waiting = load.waiting_count(tx)
    if full is None and not waiting:
        return True
    ctx.limits.require_place(waiting)
    return False


def _with_driver(ctx: Context, tx: Connection, session: Session) -> Session:
    """The session with a warm driver, or on its way to one of its own."""
    if ctx.roles.of(session) is not None:
        session = domain.created_cold(session, why=WHY_COLD)
    elif session.work_group in ctx.with_packages:
        # They may have to be built. The supervisor may still find a warm driver.
        session = domain.created_cold(session, why="its workgroup has packages of its own")
    else:
        session = _with_warm_driver(tx, session, ctx.sparks.of(session.engine_version))
    if session.state is State.CREATING and not ctx.limits.queue_when_full:
        starting = drivers.count_starting(tx) + load.waiting_count(tx)
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
    if drivers.take_warm(tx, wanted, session.id, session.server) is not None:
        return domain.created_warm(session, at=session.created_at)
    if review.at_launch:
        keys = ", ".join(review.at_launch)
        return domain.created_cold(session, why=f"properties that are fixed at launch: {keys}")
    if spark.environment != OWN:
        return domain.created_cold(session, why="its engine has an environment of its own")
    return domain.created_cold(session, why="no warm driver was ready")

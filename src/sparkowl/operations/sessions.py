"""The operations on a session that is there: GetSession to TerminateSession."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import opening
from sparkowl.domain import session as domain
from sparkowl.domain.reason import Code, explain
from sparkowl.domain.session import Session, State
from sparkowl.domain.usage import dpu_millis
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import executors, load, sessions, workgroups
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]


async def get_session(ctx: Context, request: Input) -> Output:
    now = ctx.clock.now()

    def read(tx: Connection) -> tuple[Session, int]:
        session = _read(ctx, tx, request["SessionId"])
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
        "EngineConfiguration": _configuration(session),
        "NotebookVersion": kept.get("NotebookVersion"),
        "MonitoringConfiguration": kept.get("MonitoringConfiguration"),
        "SessionConfiguration": {
            "ExecutionRole": kept.get("ExecutionRole"),
            "WorkingDirectory": session.working_directory,
            "EncryptionConfiguration": kept.get("EncryptionConfiguration"),
            "IdleTimeoutSeconds": seconds,
            "SessionIdleTimeoutInMinutes": seconds // 60,
        },
        "Status": _status(session),
        "Statistics": {"DpuExecutionInMillis": millis},
    }


def _configuration(session: Session) -> Output | None:
    """As it was asked for, and the notebook that a file or the first save became."""
    kept: Output | None = session.request.get("EngineConfiguration")
    if kept is None or session.notebook_id is None:
        return kept
    configs = {**kept.get("AdditionalConfigs", {}), opening.ID: session.notebook_id}
    return {**kept, "AdditionalConfigs": configs}


async def get_session_status(ctx: Context, request: Input) -> Output:
    session = await ctx.store.read(lambda tx: _read(ctx, tx, request["SessionId"]))
    return {"SessionId": session.id, "Status": _status(session)}


def _read(ctx: Context, tx: Connection, session_id: str) -> Session:
    session = sessions.get(tx, session_id)
    place = load.place(tx, session) if session.state is State.CREATING else None
    return session if place is None else _placed(ctx, session, *place)


def _placed(ctx: Context, session: Session, place: int, length: int) -> Session:
    packages = session.work_group in ctx.with_packages
    return replace(session, reason=domain.queued_reason(place, length, packages=packages))


def _with_places(ctx: Context, tx: Connection, found: Sequence[Session]) -> list[Session]:
    """The sessions; of one that waits for a driver, the reason says at which place."""
    if all(session.state is not State.CREATING for session in found):
        return list(found)
    line = [waiting.session_id for waiting in load.waiting(tx)]
    places = {session_id: place for place, session_id in enumerate(line, start=1)}
    return [
        _placed(ctx, session, places[session.id], len(line)) if session.id in places else session
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
        summaries = [_summary(session) for session in _with_places(ctx, tx, rows)]
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
            reason=explain(Code.USER),
        )
    )
    ctx.wake(session.id)
    return {"State": session.state}


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

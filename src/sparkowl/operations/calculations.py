"""The calculation operations: a block of code in a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import calculation as domain
from sparkowl.domain import engine
from sparkowl.domain import session as session_domain
from sparkowl.domain.calculation import Calculation, State
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import new_calculation_id
from sparkowl.domain.session import Session
from sparkowl.domain.usage import dpu_millis
from sparkowl.domain.workgroup import require_enabled
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import calculations, executors, sessions, tokens, workgroups
from sparkowl.store.tables import micros

Input = Mapping[str, Any]
Output = dict[str, Any]


async def start_calculation_execution(ctx: Context, request: Input) -> Output:
    """A new calculation. One at a time: a session that is not IDLE refuses it."""
    code = _code(request)
    asked = tokens.Asked("StartCalculationExecution", ctx.caller.name, request)

    def start(tx: Connection) -> Calculation:
        known = tokens.find(tx, asked)
        if known is not None:
            return calculations.get(tx, known)
        now = ctx.clock.now()
        session = _session_of(ctx, tx, request)
        _require_enabled(tx, session)
        session_domain.require_room(session)
        calculation = _new_calculation(session, request, code, now)
        calculations.insert_calculation(tx, calculation)
        sessions.replace(tx, session, session_domain.Event.WORK_STARTED, at=now)
        tokens.insert_token(tx, asked, calculation.id, now)
        return calculation

    calculation = await ctx.store.write(start)
    ctx.wake(calculation.session_id)
    return {"CalculationExecutionId": calculation.id, "State": calculation.state}


def _session_of(ctx: Context, tx: Connection, request: Input) -> Session:
    """The session that the request names, on an engine that has calculations."""
    session = sessions.get(tx, request["SessionId"])
    engine.require_calculations(session.engine_version, ctx.calculations_on)
    return session


def _require_enabled(tx: Connection, session: Session) -> None:
    work_group = workgroups.find(tx, session.work_group)
    if work_group is not None:
        require_enabled(work_group)


def _code(request: Input) -> str:
    """The block, from either of its two places; exactly one must be given."""
    older = request.get("CalculationConfiguration", {}).get("CodeBlock")
    code = request.get("CodeBlock")
    if code is not None and older is not None:
        raise InvalidRequest(
            "CodeBlock and CalculationConfiguration.CodeBlock are two forms of one member; "
            "give only one."
        )
    if code is None and older is None:
        raise InvalidRequest("CodeBlock is required.")
    return str(code if older is None else older)


def _new_calculation(session: Session, request: Input, code: str, now: Any) -> Calculation:
    calculation_id = new_calculation_id()
    return Calculation(
        id=calculation_id,
        session_id=session.id,
        state=State.CREATING,
        description=request.get("Description"),
        code=code,
        output_location=f"{session.working_directory}/{calculation_id}",
        submitted_at=now,
    )


async def get_calculation_execution(ctx: Context, request: Input) -> Output:
    calculation, statistics = await _get_with_statistics(ctx, request)
    return {
        "CalculationExecutionId": calculation.id,
        "SessionId": calculation.session_id,
        "Description": calculation.description,
        "WorkingDirectory": calculation.output_location.rpartition("/")[0],
        "Status": _status(calculation),
        "Statistics": statistics,
        "Result": _result(calculation),
    }


async def get_calculation_execution_status(ctx: Context, request: Input) -> Output:
    calculation, statistics = await _get_with_statistics(ctx, request)
    return {"Status": _status(calculation), "Statistics": statistics}


async def get_calculation_execution_code(ctx: Context, request: Input) -> Output:
    return {"CodeBlock": (await _get(ctx, request)).code}


async def list_calculation_executions(ctx: Context, request: Input) -> Output:
    """Newest first, in every state unless one is asked for."""
    asked = request.get("StateFilter")
    states = frozenset(State) if asked is None else frozenset({State(asked)})
    session_id = request["SessionId"]

    def read(tx: Connection) -> Output:
        _session_of(ctx, tx, request)
        rows, token = Pages(ctx.paging_key, "ListCalculationExecutions", request, 100).page(
            lambda after, limit: calculations.list_page(
                tx, session_id, states, after=after, limit=limit
            ),
            lambda calculation: (micros(calculation.submitted_at), calculation.id),
        )
        return {"Calculations": [_summary(calculation) for calculation in rows], "NextToken": token}

    return await ctx.store.read(read)


async def stop_calculation_execution(ctx: Context, request: Input) -> Output:
    """CANCELING; one that has ended stays as it is, which is a success."""
    now = ctx.clock.now()
    calculation = await ctx.store.write(
        lambda tx: calculations.change(
            tx, request["CalculationExecutionId"], domain.Event.CANCEL_ASKED, at=now
        )
    )
    ctx.wake(calculation.session_id)
    return {"State": calculation.state}


async def _get(ctx: Context, request: Input) -> Calculation:
    return await ctx.store.read(lambda tx: calculations.get(tx, request["CalculationExecutionId"]))


async def _get_with_statistics(ctx: Context, request: Input) -> tuple[Calculation, Output]:
    """The calculation, and its Statistics; never empty: clients read them in every state."""
    now = ctx.clock.now()

    def read(tx: Connection) -> tuple[Calculation, Output]:
        calculation = calculations.get(tx, request["CalculationExecutionId"])
        since, until = calculation.started_at, calculation.completed_at or now
        session_id = calculation.session_id
        workers = executors.of_session(tx, session_id, since, until) if since else ()
        statistics = {
            "DpuExecutionInMillis": dpu_millis(since, until, workers),
            "Progress": f"{calculation.progress}%",
        }
        return calculation, statistics

    return await ctx.store.read(read)


def _status(calculation: Calculation) -> Output:
    return {
        "State": calculation.state,
        "StateChangeReason": calculation.reason,
        "SubmissionDateTime": calculation.submitted_at,
        "CompletionDateTime": calculation.completed_at,
    }


def _result(calculation: Calculation) -> Output | None:
    """Where the outputs are: stdout and stderr while it runs, all three once it has ended."""
    if calculation.state in domain.TERMINAL:
        stdout, stderr, result = (calculation.output(name) for name in domain.OUTPUT_NAMES)
        return {
            "StdOutS3Uri": stdout,
            "StdErrorS3Uri": stderr,
            "ResultS3Uri": result,
            "ResultType": domain.RESULT_TYPE,
        }
    if calculation.started_at is not None:
        return {
            "StdOutS3Uri": calculation.output("stdout"),
            "StdErrorS3Uri": calculation.output("stderr"),
        }
    return None


def _summary(calculation: Calculation) -> Output:
    return {
        "CalculationExecutionId": calculation.id,
        "Description": calculation.description,
        "Status": _status(calculation),
    }

"""What an agent reports becomes rows.

Each report is one transaction, and taking one twice changes nothing: agents repeat what was not
acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.agent import messages
from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain import cell
from sparkowl.domain import session as session_domain
from sparkowl.domain.driver import Driver
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.executor import Worker, is_failure
from sparkowl.domain.ids import CalculationId
from sparkowl.domain.reason import code_of
from sparkowl.domain.workgroup import require_enabled
from sparkowl.store import calculations, drivers, executors, sessions, workgroups

log = logging.getLogger(__name__)

_OUTCOMES: Final[Mapping[str, calculation_domain.Event]] = {
    "completed": calculation_domain.Event.COMPLETED,
    "failed": calculation_domain.Event.FAILED,
    "canceled": calculation_domain.Event.CANCELED,
}

#: What a column holds. Spark's ids are small numbers; these are for what is no Spark.
_LONGEST_ID: Final = 64
_MOST_CORES: Final = 10_000
#: Restarts of a session that its timeline tells of: the last ones.
_RESTARTS_KEPT: Final = 20


def take(tx: Connection, driver_id: str, report: messages.Report, now: datetime) -> None:
    """Write what the driver reports."""
    driver = drivers.get(tx, driver_id)
    assert driver is not None
    match report:
        case messages.Ready():
            drivers.set_ready(tx, driver.id, now, _details(report))
        case messages.Failed(reason=reason, code=code):
            drivers.set_reason(tx, driver.id, reason, code_of(code))
        case messages.Adopted(session_id=session_id):
            _adopted(tx, driver, session_id, now)
        case messages.Executor():
            _executor(tx, driver, report, now)
        case messages.Cell():
            _cell(tx, driver, report, now)
        case messages.Restarted():
            _restarted(tx, driver, report, now)
        case messages.Started() | messages.Ended() | messages.Progress():
            _take_work(tx, driver, report, now)


def _take_work(
    tx: Connection,
    driver: Driver,
    report: messages.Started | messages.Ended | messages.Progress,
    now: datetime,
) -> None:
    calculation = calculations.find(tx, report.calculation_id)
    if calculation is None or calculation.session_id != driver.session_id:
        log.warning(
            "driver reported on a calculation that is not its own",
            extra={"driver": driver.id, "calculation": report.calculation_id},
        )
        return
    match report:
        case messages.Started():
            at = _told(report.at, calculation.submitted_at, now)
            calculations.replace(tx, calculation, calculation_domain.Event.STARTED, at=at)
        case messages.Progress(percent=percent):
            calculations.set_progress(tx, calculation.id, min(percent, 99))
        case messages.Ended():
            _ended(tx, calculation, report, now)


def _cell(tx: Connection, driver: Driver, report: messages.Cell, now: datetime) -> None:
    """A cell of the page becomes a calculation, which waits for those before it."""
    extra = {"driver": driver.id, "calculation": report.calculation_id[:_LONGEST_ID]}
    if driver.session_id is None or not cell.is_id(report.calculation_id):
        log.warning("driver reported a cell that cannot be", extra=extra)
        return
    if calculations.find(tx, report.calculation_id) is not None:
        return
    session = sessions.get(tx, driver.session_id)
    if not cell.has_page(session):
        # It is ending, and its page with it.
        log.info("cell not taken", extra={**extra, "state": str(session.state)})
        return
    calculation = cell.calculation_of(
        session,
        CalculationId(report.calculation_id),
        report.code,
        told_at=_told(report.at, session.active_at or session.created_at, now),
        latest=calculations.latest_submission(tx, session.id),
    )
    waits = calculations.active(tx, session.id) is not None
    calculations.insert_calculation(tx, calculation)
    at = calculation.submitted_at
    if waits:
        calculation = calculations.replace(tx, calculation, calculation_domain.Event.QUEUED, at=at)
    why = _why_not(tx, session, report.code)
    if why is not None:
        # The page waits for its agent's word, so the agent has to hear of it.
        asked = calculation_domain.Event.CANCEL_ASKED
        calculations.replace(tx, calculation, asked, at=now, reason=why)
    event = cell.arrival(session)
    if event is not None:
        sessions.replace(tx, session, event, at=now)


def _why_not(tx: Connection, session: session_domain.Session, code: str) -> str | None:
    """Why a cell does not run, as StartCalculationExecution would say; None: it may."""
    work_group = workgroups.find(tx, session.work_group)
    try:
        if work_group is not None:
            require_enabled(work_group)
    except InvalidRequest as refusal:
        return str(refusal)
    return cell.too_long(code)


def _restarted(tx: Connection, driver: Driver, report: messages.Restarted, now: datetime) -> None:
    """Its calculations end each by a report of its own; here it is only noted."""
    if driver.session_id is None:
        log.warning("driver of no session was restarted", extra={"driver": driver.id})
        return
    session = sessions.get(tx, driver.session_id)
    at = _told(report.at, driver.created_at, now).timestamp()
    known = session.timeline.get("restarted", [])
    if at in known:
        return
    timeline = {**session.timeline, "restarted": [*known, at][-_RESTARTS_KEPT:]}
    sessions.set_timeline(tx, replace(session, timeline=timeline))
    log.info("kernel restarted", extra={"session": session.id, "driver": driver.id})


def _ended(
    tx: Connection,
    calculation: calculation_domain.Calculation,
    report: messages.Ended,
    now: datetime,
) -> None:
    event, reason = _OUTCOMES[report.outcome], report.reason
    if report.outcome == "canceled":
        session = sessions.get(tx, calculation.session_id)
        event, reason = session_domain.how_canceled(session, calculation, reason)
    if calculation.started_at is None and report.began_at:
        began_at = _told(report.began_at, calculation.submitted_at, now)
        began = calculation_domain.Event.STARTED
        calculation = calculations.replace(tx, calculation, began, at=began_at)
    at = _told(report.at, calculation.started_at or calculation.submitted_at, now)
    calculations.replace(tx, calculation, event, at=at, reason=reason)
    if calculation.state not in calculation_domain.TERMINAL:
        work_ended(tx, calculation.session_id, now)


def work_ended(tx: Connection, session_id: str, now: datetime) -> None:
    """A calculation of the session has ended; the session is IDLE unless another waits."""
    if calculations.active(tx, session_id) is None:
        sessions.change(tx, session_id, session_domain.Event.WORK_ENDED, at=now)


def _executor(tx: Connection, driver: Driver, report: messages.Executor, now: datetime) -> None:
    """An executor lives within its driver's life, whatever Spark's clock says."""
    if len(report.executor_id) > _LONGEST_ID:
        log.warning("driver reported an executor without an id", extra={"driver": driver.id})
        return
    latest = driver.ended_at or now
    started_at = _told(report.started_at, driver.created_at, latest)
    ended_at = driver.ended_at
    if report.ended_at:
        ended_at = _told(report.ended_at, started_at, latest)
    worker = Worker(
        driver_id=driver.id,
        executor_id=report.executor_id,
        cores=max(1, min(report.cores, _MOST_CORES)),
        started_at=started_at,
        ended_at=ended_at,
        failed=bool(report.ended_at) and is_failure(report.reason),
    )
    executors.record(tx, worker)


def _told(seconds: float, earliest: datetime, now: datetime) -> datetime:
    """When the agent says that it was, which may be long ago if the server was away; within what
    is possible, as its clock may be another."""
    if not isfinite(seconds):
        return now
    bounded = min(max(seconds, earliest.timestamp()), now.timestamp())
    return datetime.fromtimestamp(bounded, UTC)


def _adopted(tx: Connection, driver: Driver, session_id: str, now: datetime) -> None:
    if driver.session_id != session_id:
        log.warning("driver adopted a session that is not its own", extra={"driver": driver.id})
        return
    if driver.adopted_at is not None:
        return
    drivers.set_adopted(tx, driver.id, now)
    session = sessions.change(tx, session_id, session_domain.Event.ADOPTED, at=now)
    timeline = start_timeline(session, driver, now)
    sessions.set_timeline(tx, replace(session, timeline=timeline))
    log.info("session started", extra={"session": session_id, "timeline": timeline})


def start_timeline(
    session: session_domain.Session, driver: Driver, now: datetime
) -> dict[str, Any]:
    """When each step of the start was reached, seconds since the epoch.

    A warm driver's own marks lie before ``asked``: that is what made the start fast.
    """
    marks = driver.details.get("marks", {})
    return {
        **session.timeline,
        "slot": driver.created_at.timestamp(),
        "process": marks.get("agent"),
        "jvm": marks.get("jvm"),
        "context": marks.get("context"),
        "driver_ready": marks.get("ready"),
        "ready": now.timestamp(),
        "spark_version": driver.details.get("spark_version"),
        "archive": driver.details.get("archive"),
        "isolation": driver.details.get("isolation"),
    }


def _details(ready: messages.Ready) -> dict[str, Any]:
    return {
        "marks": dict(ready.marks),
        "spark_version": ready.spark_version,
        "java_version": ready.java_version,
        "python_version": ready.python_version,
        "archive": ready.archive,
        "isolation": ready.isolation,
    }

"""Entities with good defaults: a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sparkowl.clock import Manual
from sparkowl.domain import calculation as calculations
from sparkowl.domain import session as sessions
from sparkowl.domain.arns import Account
from sparkowl.domain.calculation import Calculation
from sparkowl.domain.driver import Driver
from sparkowl.domain.ids import (
    ServerId,
    SessionId,
    new_calculation_id,
    new_driver_id,
    new_session_id,
)
from sparkowl.domain.limits import Limits
from sparkowl.domain.policy import ROOT
from sparkowl.domain.session import Session
from sparkowl.domain.step import Patience, Situation
from sparkowl.launchers import engines
from sparkowl.launchers.local import LocalSettings
from sparkowl.objects.files import Files
from sparkowl.objects.folder_storage import FolderStorage
from sparkowl.operations import Context
from sparkowl.operations.context import NotebookTerms
from sparkowl.store import Store

AT: Final = datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
LATER: Final = AT + timedelta(minutes=1)
_NO_BUCKETS: Final = TemporaryDirectory()
PATIENCE: Final = Patience(
    start=timedelta(seconds=180),
    silent=timedelta(seconds=20),
    lost=timedelta(seconds=120),
    cancel=timedelta(seconds=60),
)


def make_session(**changes: Any) -> Session:
    """An IDLE session of the workgroup ``spark``."""
    session = Session(
        id=new_session_id(),
        work_group="spark",
        state=sessions.State.IDLE,
        engine_version="Apache Spark version 4.1",
        description=None,
        request={"EngineConfiguration": {}},
        idle_timeout=timedelta(minutes=20),
        output_location="s3://results",
        created_at=AT,
        modified_at=AT,
        active_at=AT,
        idle_since=AT,
    )
    return replace(session, **changes)


def make_calculation(**changes: Any) -> Calculation:
    """A RUNNING calculation."""
    calculation = Calculation(
        id=new_calculation_id(),
        session_id=new_session_id(),
        state=calculations.State.RUNNING,
        description=None,
        code="1 + 1",
        output_location="s3://results/session/calculation",
        submitted_at=AT,
        started_at=AT,
    )
    return replace(calculation, **changes)


def make_driver(**changes: Any) -> Driver:
    """A driver that is launched, ready and adopted."""
    driver = Driver(
        id=new_driver_id(),
        session_id=SessionId("00000000-0000-0000-0000-000000000001"),
        fingerprint="f" * 64,
        created_at=AT,
        handle="handle",
        ready_at=AT,
        adopted_at=AT,
    )
    return replace(driver, **changes)


def make_situation(**changes: Any) -> Situation:
    """A healthy driver with its link up and nothing to run."""
    situation = Situation(
        driver=make_driver(), alive=True, linked=True, silent_since=None, calculation=None
    )
    return replace(situation, **changes)


def make_context(store: Store, **changes: Any) -> Context:
    """What operations get, without a server: nobody is woken, and there is always room."""
    context = Context(
        store=store,
        clock=Manual(AT),
        server=ServerId("server"),
        account=Account(),
        limits=Limits(),
        sparks=engines.sparks({}),
        output_location="s3://results",
        paging_key=b"k" * 32,
        wake=lambda session_id: None,
        room=lambda starting: None,
        storage=FolderStorage(
            Files(Path(_NO_BUCKETS.name) / "buckets", Path(_NO_BUCKETS.name) / "staging")
        ),
        notebooks=NotebookTerms(key=b"n" * 32, url="http://127.0.0.1:8765"),
        caller=ROOT,
    )
    return replace(context, **changes)


def make_local_settings(folder: Path, **changes: Any) -> LocalSettings:
    """Small drivers below a folder, with nothing around them."""
    settings = LocalSettings(
        drivers_dir=folder / "drivers",
        buckets_dir=folder / "buckets",
        data_dir=folder,
        hidden=(),
        cache_dir=folder / "cache",
        pythons={},
        java_home=None,
        heap="512m",
        cores=1,
        memory_needed=0,
        disk_needed=0,
        output_limit_bytes=1024,
        away_idle_s=60,
        away_busy_s=60,
        confine=False,
        writable=(),
    )
    return replace(settings, **changes)

"""What the settings say, in the words of the rooms that it is for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from sparkowl.access.audit import Audit
from sparkowl.access.standing import Standing
from sparkowl.app.catalog import Chosen as Catalogue
from sparkowl.app.errors import StartError
from sparkowl.config import AUDIT_FILE, POSTMORTEMS, RateSection, RoleSection, Settings, users_of
from sparkowl.domain.budget import Budget, Period
from sparkowl.domain.limits import Limits, Quota
from sparkowl.domain.rates import Rate, Rates
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.step import Patience
from sparkowl.http.admission import Admission
from sparkowl.http.notebooks import NotebooksDoor
from sparkowl.http.origins import Origins
from sparkowl.http.upstream import Upstreams
from sparkowl.launchers import engines, environments, users
from sparkowl.launchers.engines import Environment
from sparkowl.launchers.installing import Wanted
from sparkowl.launchers.local import LocalSettings
from sparkowl.launchers.postmortem import Keep
from sparkowl.operations import OPERATIONS, Context
from sparkowl.operations.context import NotebookTerms
from sparkowl.supervisor.pool import PoolSize

log = logging.getLogger(__name__)


def limits(settings: Settings) -> Limits:
    asked = settings.limits
    return Limits(
        session_dpus=asked.session_dpus,
        account=Quota(sessions=asked.sessions, dpus=asked.account_dpus),
        work_group=Quota(sessions=asked.workgroup_sessions, dpus=asked.workgroup_dpus),
        by_work_group={
            name: Quota(
                sessions=asked.workgroup_sessions if own.sessions is None else own.sessions,
                dpus=asked.workgroup_dpus if own.dpus is None else own.dpus,
            )
            for name, own in settings.workgroups.items()
        },
        queue_when_full=asked.queue_when_full,
        queue_length=asked.queue_length,
    )


def rates(settings: Settings) -> Rates:
    asked = settings.rates
    unknown = sorted(set(asked.operations) - set(OPERATIONS))
    if unknown:
        raise StartError(f"Setting rates.operations: {unknown[0]} is not an operation.")

    def rate(section: RateSection) -> Rate:
        return Rate(section.per_s, section.burst)

    return Rates(
        reads=rate(asked.reads),
        writes=rate(asked.writes),
        by_operation={name: rate(section) for name, section in asked.operations.items()},
    )


def budgets(settings: Settings) -> dict[str, Budget]:
    """By workgroup; those that have one."""
    return {
        name: Budget(
            work_group=name,
            dpu_hours=section.budget.dpu_hours,
            period=Period(section.budget.period),
            warn_at=section.budget.warn_at,
            refuse_at=section.budget.refuse_at,
            stop_at=section.budget.stop_at,
        )
        for name, section in settings.workgroups.items()
        if section.budget is not None
    }


def audit(settings: Settings, data_dir: Path) -> Audit:
    """Open already: an operator who asked for it should not learn by its absence."""
    chosen = settings.audit
    path = chosen.file or data_dir / AUDIT_FILE
    made = Audit(path if chosen.enabled else None, behind_proxy=settings.behind_proxy)
    try:
        made.open()
    except OSError as error:
        raise StartError(
            f"The audit log {path} cannot be opened: {error.strerror}. "
            "Give another audit.file, or set audit.enabled = false."
        ) from error
    return made


def roles(settings: Settings) -> Roles:
    def role(section: RoleSection) -> Role:
        return Role(
            user=section.user,
            environment=section.environment,
            spark_properties=section.spark_properties,
            buckets=section.buckets,
        )

    return Roles(
        {arn: role(section) for arn, section in settings.roles.items()},
        role(settings.unmapped_role),
    )


def posix_users(settings: Settings) -> users.Users | None:
    """The POSIX users that drivers run as; None where all run as the server's own."""
    if settings.launcher == "fake":
        return None
    try:
        return users.find(users_of(settings), settings.driver.group)
    except users.UnusableUser as error:
        raise StartError(str(error)) from error


def calculations_on(settings: Settings) -> frozenset[str]:
    """Engines that may run calculations although AWS's do not."""
    return frozenset(name for name, own in settings.engines.items() if own.calculations)


def patience(settings: Settings) -> Patience:
    driver = settings.driver
    return Patience(
        start=timedelta(seconds=driver.start_timeout_s),
        silent=timedelta(seconds=driver.silent_after_s),
        lost=timedelta(seconds=driver.lost_after_s),
        cancel=timedelta(seconds=driver.cancel_timeout_s),
    )


def notebooks(settings: Settings, key: bytes, url: str) -> NotebookTerms:
    """``url``: where the server listens."""
    asked = settings.notebooks
    return NotebookTerms(
        key=key,
        url=asked.url or url,
        link=timedelta(seconds=asked.link_s),
        versions=asked.versions,
        warn=timedelta(seconds=asked.warn_s),
        downloads=asked.downloads,
    )


def notebooks_door(
    settings: Settings,
    context: Context,
    standing: Standing,
    upstreams: Upstreams,
    audit_log: Audit,
) -> NotebooksDoor:
    asked = settings.notebooks
    return NotebooksDoor(
        context,
        Admission(context, standing, timedelta(seconds=asked.visit_s)),
        Origins(asked.url, settings.behind_proxy),
        upstreams,
        audit_log,
        open_page_is_activity=asked.open_page_is_activity,
    )


def pool_size(settings: Settings) -> PoolSize:
    pool = settings.pool
    return PoolSize(
        members=pool.size,
        max_age=timedelta(seconds=pool.max_age_s),
        pause=timedelta(seconds=pool.pause_s),
    )


def local(
    settings: Settings,
    registered: Mapping[str, Environment],
    runners: users.Users | None,
    catalogue: Catalogue,
) -> LocalSettings:
    """What drivers on this machine have in common."""
    driver, data_dir = settings.driver, settings.data_dir
    return LocalSettings(
        drivers_dir=data_dir / "drivers",
        buckets_dir=data_dir / "buckets",
        data_dir=data_dir,
        hidden=tuple(
            file.absolute() for file in (settings.config, settings.audit.file) if file is not None
        ),
        cache_dir=settings.cache_dir,
        pythons={name: found.python for name, found in registered.items()},
        java_home=driver.java_home,
        heap=driver.heap,
        cores=driver.cores,
        memory_needed=driver.memory_needed_mb * 1024 * 1024,
        disk_needed=driver.disk_needed_mb * 1024 * 1024,
        memory_limit=driver.memory_limit_bytes,
        output_limit_bytes=driver.output_limit_bytes,
        away_idle_s=driver.away_idle_s,
        away_busy_s=driver.away_busy_s,
        confine=driver.isolation == "auto",
        writable=driver.writable,
        user=driver.user,
        users=runners,
        keep=Keep(
            folder=data_dir / POSTMORTEMS,
            drivers=driver.postmortems,
            size_bytes=driver.postmortems_mb * 1024 * 1024,
        ),
        catalog=catalogue.properties,
        catalog_jars=catalogue.jars,
    )


def registered(settings: Settings, data_dir: Path) -> dict[str, Environment]:
    """The environments of engines that have one. What the settings name wins."""
    if settings.launcher == "fake":
        return {}
    environments.clear_unused(data_dir)
    found = {made.name: made for made in engines.registered(data_dir)}
    for name, section in settings.engines.items():
        if section.python is not None:
            wanted = Wanted(
                name=name,
                pyspark=None,
                python=section.python.expanduser().absolute(),
                java_home=settings.driver.java_home,
            )
            found[name] = environments.of_setting(data_dir, wanted, log.info)
    return found

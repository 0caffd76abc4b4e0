"""What the settings say, in the words of the rooms that it is for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sparkowl.access.audit import Audit
from sparkowl.access.standing import Standing
from sparkowl.app import objects
from sparkowl.app.catalog import Chosen as Catalogue
from sparkowl.app.errors import StartError
from sparkowl.config import AUDIT_FILE, POSTMORTEMS, RateSection, RoleSection, Settings, users_of
from sparkowl.domain import formats
from sparkowl.domain.budget import Budget, Period
from sparkowl.domain.conditions import BadPolicy
from sparkowl.domain.limits import Limits, Quota
from sparkowl.domain.policy import Policy, parse
from sparkowl.domain.rates import Rate, Rates
from sparkowl.domain.role import Role, Roles
from sparkowl.domain.step import Patience
from sparkowl.http.admission import Admission
from sparkowl.http.notebooks import NotebooksDoor
from sparkowl.http.origins import Origins
from sparkowl.http.upstream import Upstreams
from sparkowl.launchers import engines, environments, s3a, users
from sparkowl.launchers.engines import Environment
from sparkowl.launchers.installing import Wanted
from sparkowl.launchers.jars import Jars
from sparkowl.launchers.local import LocalSettings
from sparkowl.launchers.packages import FOLDER, PipPackages
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
    def role(name: str, section: RoleSection) -> Role:
        return Role(
            user=section.user,
            environment=section.environment,
            spark_properties=section.spark_properties,
            buckets=section.buckets,
            policy=_policy(f"{name}.policy", section.policy),
        )

    return Roles(
        {arn: role(f"roles.{arn}", section) for arn, section in settings.roles.items()},
        role("unmapped_role", settings.unmapped_role),
    )


def _policy(name: str, given: str | Mapping[str, Any] | None) -> Policy | None:
    """What a role's sessions may do; the setting's ``name`` is for whoever must correct it."""
    if given is None:
        return None
    try:
        return parse(given if isinstance(given, str) else json.dumps(given, default=_json))
    except (BadPolicy, TypeError) as error:
        raise StartError(f"Setting {name}: {error}") from error


def _json(value: object) -> str:
    """TOML reads ``Version = 2012-10-17`` without quotes as a day."""
    if type(value) is date:
        return value.isoformat()
    raise TypeError(f"{value} is nothing that a policy can hold.")


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
    chosen = objects.service(settings)
    aws = {"region": settings.region, "addressing_style": "path"}
    if chosen is not None:
        aws = {
            "region": chosen.region,
            "endpoint_url_s3": chosen.endpoint or "",
            "addressing_style": "path" if chosen.path_style else "virtual",
        }
    return LocalSettings(
        drivers_dir=data_dir / "drivers",
        buckets_dir=data_dir / "buckets" if settings.objects.kind == "folders" else None,
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
        aws=aws,
        # Without the server's own keys.
        s3=None if chosen is None else replace(chosen, keys=None),
        sparks=_versions(registered),
        glue=settings.catalog_kind == "glue",
        own_metastore=settings.catalog_kind == "hive",
        keep=Keep(
            folder=data_dir / POSTMORTEMS,
            drivers=driver.postmortems,
            size_bytes=driver.postmortems_mb * 1024 * 1024,
        ),
        upload_for_s=settings.objects.upload_for_s,
        catalog=catalogue.properties,
        catalog_jars=catalogue.jars,
    )


def packages(settings: Settings, registered: Mapping[str, Environment]) -> PipPackages:
    """The packages of the workgroups that have a requirements file. Make-believe drivers import
    nothing."""
    real = settings.launcher == "local"
    return PipPackages(
        settings.cache_dir / FOLDER,
        {
            name: own.requirements
            for name, own in settings.workgroups.items()
            if real and own.requirements
        },
        {name: found.python for name, found in registered.items()},
        limit_s=settings.packages.build_timeout_s,
    )


def jars(settings: Settings, registered: Mapping[str, Environment], catalogue: Catalogue) -> Jars:
    """The jars of drivers: for every one those that the catalogue needs, and S3A's where an S3
    service has the buckets. Make-believe drivers need none."""
    real = settings.launcher == "local"
    s3 = (s3a.NAME,) if real and settings.objects.kind == "s3" else ()
    return Jars(
        cache_dir=settings.cache_dir,
        folder=settings.jars.folder,
        always=(*s3, *formats.needed(catalogue.properties)),
        sparks=_versions(registered),
    )


def _versions(registered: Mapping[str, Environment]) -> dict[str, str]:
    return {name: found.spark_version for name, found in registered.items()}


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

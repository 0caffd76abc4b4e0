"""Workgroups: how one is made, changed, and what it must be for sessions to start in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sparkowl.domain import encryption, engine, opening
from sparkowl.domain.encryption import Encryption
from sparkowl.domain.engine import SPARK_ENGINES
from sparkowl.domain.errors import InvalidRequest

#: The workgroup that every account has and that cannot be deleted.
PRIMARY: Final = "primary"

_LOCATION: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")
#: Characters of an OutputLocation. The model has no limit here, but 1024 for the URIs of outputs,
#: to which two ids and a name are added.
_LOCATION_LENGTH: Final = 900
_MANAGED: Final = "ManagedQueryResultsConfiguration"
#: What a new workgroup has where nothing else was said (as AWS answers GetWorkGroup).
_DEFAULTS: Final[Mapping[str, Any]] = {
    "ResultConfiguration": {},
    "EnforceWorkGroupConfiguration": True,
    "PublishCloudWatchMetricsEnabled": False,
    "RequesterPaysEnabled": False,
    "EnableMinimumEncryptionConfiguration": False,
}


class State(StrEnum):
    """Athena's ``WorkGroupState``."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkGroup:
    """One row of ``workgroups``."""

    name: str
    state: State
    description: str | None
    #: Athena's ``WorkGroupConfiguration`` as GetWorkGroup answers it.
    configuration: Mapping[str, Any]
    created_at: datetime

    @property
    def engine_version(self) -> str:
        return str(self.configuration["EngineVersion"]["EffectiveEngineVersion"])

    @property
    def is_spark(self) -> bool:
        return self.engine_version in SPARK_ENGINES

    @property
    def output_location(self) -> str | None:
        """Where outputs go, without a final slash; None: the server's default."""
        location = self.configuration.get("ResultConfiguration", {}).get("OutputLocation")
        return location.rstrip("/") if location else None

    @property
    def encryption(self) -> Encryption | None:
        """How outputs are to be encrypted."""
        result = self.configuration.get("ResultConfiguration", {})
        return encryption.of(result.get("EncryptionConfiguration"))


def require_enabled(work_group: WorkGroup) -> None:
    """Raise in a disabled workgroup: there nobody runs anything. The text is Athena's."""
    if work_group.state is State.DISABLED:
        raise InvalidRequest(f"WorkGroup {work_group.name} is disabled.")


def require_spark(work_group: WorkGroup) -> None:
    """Raise unless sessions may start in the workgroup. The texts are Athena's."""
    require_enabled(work_group)
    if not work_group.is_spark:
        raise InvalidRequest("Workgroup EngineVersion is not Spark.")


def create(
    name: str, configuration: Mapping[str, Any], *, description: str | None, at: datetime
) -> WorkGroup:
    """A new workgroup of CreateWorkGroup's members. A Spark one must name an ExecutionRole."""
    work_group = WorkGroup(
        name=name,
        state=State.ENABLED,
        description=description,
        configuration={
            **_DEFAULTS,
            **configuration,
            "EngineVersion": _engine_version(configuration.get("EngineVersion", {})),
        },
        created_at=at,
    )
    if work_group.is_spark and not configuration.get("ExecutionRole"):
        raise InvalidRequest("executionRole is null or empty")
    _check(work_group)
    return work_group


def update(
    work_group: WorkGroup,
    updates: Mapping[str, Any],
    *,
    description: str | None = None,
    state: State | None = None,
) -> WorkGroup:
    """The workgroup after UpdateWorkGroup; what is not named stays as it is.

    The engine stays: AWS changes neither between SQL and Spark nor from one Spark to the next.
    """
    configuration = _updated(work_group.configuration, updates, "ConfigurationUpdates")
    selected = updates.get("EngineVersion", {}).get("SelectedEngineVersion")
    # An EngineVersion that selects nothing names nothing.
    configuration["EngineVersion"] = (
        _engine_version({"SelectedEngineVersion": selected})
        if selected
        else work_group.configuration["EngineVersion"]
    )
    if _MANAGED in configuration:
        # Required in an answer, optional in an update.
        configuration[_MANAGED] = {"Enabled": False, **configuration[_MANAGED]}
    changed = replace(
        work_group,
        configuration=configuration,
        description=work_group.description if description is None else description,
        state=state or work_group.state,
    )
    if changed.engine_version != work_group.engine_version:
        raise InvalidRequest(
            f"ConfigurationUpdates.EngineVersion: WorkGroup {work_group.name} runs "
            f"{work_group.engine_version}, which cannot be changed to {changed.engine_version}. "
            "Create another workgroup."
        )
    _check(changed)
    return changed


def _updated(current: Mapping[str, Any], updates: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Athena's three kinds of update: ``X`` sets, ``RemoveX`` unsets, ``XUpdates`` goes deeper."""
    result = dict(current)
    for name, value in updates.items():
        if name.startswith("Remove"):
            removed = name.removeprefix("Remove")
            if value and removed in updates:
                raise InvalidRequest(f"{path}: {removed} and {name} exclude each other.")
            if value:
                result.pop(removed, None)
        elif name.endswith("Updates"):
            inner = name.removesuffix("Updates")
            result[inner] = _updated(current.get(inner, {}), value, f"{path}.{name}")
        else:
            result[name] = value
    return result


def _engine_version(asked: Mapping[str, Any]) -> dict[str, str]:
    selected = asked.get("SelectedEngineVersion") or engine.AUTO
    return {
        "SelectedEngineVersion": selected,
        "EffectiveEngineVersion": engine.effective(selected),
    }


def _check(work_group: WorkGroup) -> None:
    """The rules that the model does not state."""
    configuration = work_group.configuration
    result = configuration.get("ResultConfiguration", {})
    location = result.get("OutputLocation")
    if location is not None and _LOCATION.fullmatch(location) is None:
        raise InvalidRequest(
            f"ResultConfiguration.OutputLocation {location[:256]} is not of the form "
            "s3://bucket/prefix."
        )
    if location is not None and len(location) > _LOCATION_LENGTH:
        raise InvalidRequest(
            f"ResultConfiguration.OutputLocation has {len(location)} characters; at most "
            f"{_LOCATION_LENGTH} are allowed."
        )
    asked = work_group.encryption
    if asked is not None and asked.option != encryption.SSE_S3 and not asked.kms_key:
        raise InvalidRequest(
            f"ResultConfiguration.EncryptionConfiguration.KmsKey is required for {asked.option}."
        )
    if work_group.is_spark:
        defaults = configuration.get("EngineConfiguration", {})
        engine.require_takes(work_group.engine_version, defaults)
        opening.refuse_default(defaults)


def built_in(at: datetime) -> tuple[WorkGroup, WorkGroup]:
    """The two workgroups of a new account: ``primary`` as AWS has it, and ``spark``.

    Neither names an output location, so the server's setting holds for both, also when it changes;
    nor does ``spark`` name an ExecutionRole, so that the first session needs no set-up.
    """
    groups = (
        (PRIMARY, engine.AUTO, None),
        ("spark", engine.SPARK_4_1, "Sessions on Apache Spark 4.1"),
    )
    primary, spark = (
        WorkGroup(
            name=name,
            state=State.ENABLED,
            description=description,
            configuration={
                **_DEFAULTS,
                "EnforceWorkGroupConfiguration": False,
                "EngineVersion": _engine_version({"SelectedEngineVersion": selected}),
            },
            created_at=at,
        )
        for name, selected, description in groups
    )
    return primary, spark

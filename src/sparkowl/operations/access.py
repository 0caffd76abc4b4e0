"""Which permission each operation needs, and on what.

An operation ``X`` needs ``athena:X`` on the ARN of the workgroup that it is about (AWS authorises
all of Spark's operations on workgroups; Service Authorization Reference, "Amazon Athena"). How the
workgroup is found is the table :data:`RULES`; what some requests need besides is :data:`FURTHER`.

Whoever is refused must not learn what exists. A workgroup that is named in the request is checked
by its name, there or not. A session, calculation or notebook that is not there is checked as one in
the workgroup ``*``: only who may act in every workgroup is told that it is unknown. (Where a policy
allows every workgroup and denies some, the two answers differ; to tell them apart one has to guess
an id of 122 random bits.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import opening, session_key
from sparkowl.domain.arns import Resource
from sparkowl.domain.conditions import NO_TAGS, Tags
from sparkowl.domain.errors import AccessDenied
from sparkowl.domain.locations import Location
from sparkowl.domain.opening import S3File
from sparkowl.domain.policy import ROOT
from sparkowl.operations.context import Context
from sparkowl.operations.importing import place_of
from sparkowl.store import calculations, notebooks, sessions, tags, workgroups

Input = Mapping[str, Any]

#: Ids whose workgroup is remembered.
_REMEMBERED: Final = 10_000
_EVERY: Final = "*"


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is about: the names that it may be allowed under."""

    arn: str
    #: Another name for it. Allowed under either, unless one is denied.
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """What a call needs."""

    action: str
    target: Target
    tags: Tags = NO_TAGS


class Guard:
    """Finds what calls are about, and refuses those that their caller's policy does not allow."""

    def __init__(self) -> None:
        #: A session or notebook stays in its workgroup, and a calculation in its session: once
        #: read, always true. Saves a read for each poll.
        self._work_groups: dict[str, str] = {}

    async def target(self, ctx: Context, operation: str, request: Input) -> Target:
        """What the call is about."""
        return await RULES[operation](self, ctx, request)

    async def require(self, ctx: Context, operation: str, request: Input, target: Target) -> None:
        """Raise :class:`AccessDenied` unless ``ctx.caller`` may do this."""
        if ctx.caller is ROOT:
            return
        tags = _request_tags(request)
        _require(ctx, Permission(f"athena:{operation}", target, tags))
        further = FURTHER.get(operation)
        if further is not None:
            needed = await ctx.store.read(lambda tx: list(further(ctx, tx, request, target)))
            for permission in needed:
                _require(ctx, permission)

    async def work_group_of(
        self, ctx: Context, item_id: str, find: Callable[[Connection, str], str | None]
    ) -> str | None:
        known = self._work_groups.get(item_id)
        if known is None:
            known = await ctx.store.read(lambda tx: find(tx, item_id))
            if known is not None:
                if len(self._work_groups) >= _REMEMBERED:
                    del self._work_groups[next(iter(self._work_groups))]
                self._work_groups[item_id] = known
        return known


def _require(ctx: Context, needed: Permission) -> None:
    target = needed.target
    if not ctx.caller.allows(needed.action, target.arn, *target.also, tags=needed.tags):
        raise AccessDenied(f"You are not authorized to perform: {needed.action} on the resource.")


# --- what a call is about ----------------------------------------------------------------------


async def _everything(guard: Guard, ctx: Context, request: Input) -> Target:
    return Target(_EVERY)


async def _by_work_group(guard: Guard, ctx: Context, request: Input) -> Target:
    return Target(ctx.account.work_group(request["WorkGroup"]))


async def _by_name(guard: Guard, ctx: Context, request: Input) -> Target:
    return Target(ctx.account.work_group(request["Name"]))


async def _by_session(guard: Guard, ctx: Context, request: Input) -> Target:
    found = await guard.work_group_of(ctx, request["SessionId"], sessions.work_group_of)
    return Target(ctx.account.work_group(found or _EVERY))


async def _by_calculation(guard: Guard, ctx: Context, request: Input) -> Target:
    calculation_id = request["CalculationExecutionId"]
    found = await guard.work_group_of(ctx, calculation_id, calculations.work_group_of)
    return Target(ctx.account.work_group(found or _EVERY))


async def _by_notebook(guard: Guard, ctx: Context, request: Input) -> Target:
    found = await guard.work_group_of(ctx, request["NotebookId"], notebooks.work_group_of)
    return Target(ctx.account.work_group(found or _EVERY))


async def _by_arn(guard: Guard, ctx: Context, request: Input) -> Target:
    """A session is known by two names: its own ARN, and that of the workgroup it is really in."""
    named = ctx.account.parse(request["ResourceARN"])
    if named.session_id is None:
        return Target(ctx.account.work_group(named.work_group))
    found = await guard.work_group_of(ctx, named.session_id, sessions.work_group_of)
    work_group = found or _EVERY
    session = ctx.account.session(work_group, named.session_id)
    return Target(session, (ctx.account.work_group(work_group),))


# --- what some calls need besides --------------------------------------------------------------


def _start_session(
    ctx: Context, tx: Connection, request: Input, target: Target
) -> Iterator[Permission]:
    if request.get("Tags"):
        # On the session to be: who may tag the sessions of a workgroup need not be one who may
        # tag the workgroup.
        session = Target(ctx.account.session(request["WorkGroup"], _EVERY), (target.arn,))
        yield Permission("athena:TagResource", session, _request_tags(request))
    if request.get("CopyWorkGroupTags", True) and tags.of(tx, Resource(request["WorkGroup"]).key):
        yield Permission("athena:ListTagsForResource", target)
    role = request.get("ExecutionRole")
    yield from _pass_role(role)
    _keep_role(ctx, tx, request["WorkGroup"], role)
    # Else the server would read to the caller what the caller may not read.
    file = opening.asked(request).file
    if isinstance(file, S3File):
        yield Permission("s3:GetObject", _object(file.place))


def _create_work_group(
    ctx: Context, tx: Connection, request: Input, target: Target
) -> Iterator[Permission]:
    if request.get("Tags"):
        yield Permission("athena:TagResource", target, _request_tags(request))
    configuration = request.get("Configuration", {})
    yield from _pass_role(configuration.get("ExecutionRole"))
    yield from _write_outputs(configuration.get("ResultConfiguration", {}))


def _update_work_group(
    ctx: Context, tx: Connection, request: Input, target: Target
) -> Iterator[Permission]:
    updates = request.get("ConfigurationUpdates", {})
    yield from _pass_role(updates.get("ExecutionRole"))
    yield from _write_outputs(updates.get("ResultConfigurationUpdates", {}))


def _import_notebook(
    ctx: Context, tx: Connection, request: Input, target: Target
) -> Iterator[Permission]:
    """The server itself reads it there, so it must not be sent where the caller may not."""
    uri = request.get("NotebookS3LocationUri")
    if uri is not None:
        place = place_of(uri, "NotebookS3LocationUri")
        yield Permission("s3:GetObject", _object(place))


def _object(place: Location) -> Target:
    return Target(f"arn:aws:s3:::{place.bucket}/{place.key}")


def _keep_role(ctx: Context, tx: Connection, work_group: str, asked: str | None) -> None:
    """A session that may start others starts them under its own role: one that another workgroup
    gives, or none, may see more. :class:`~sparkowl.domain.session_key.Bounds` is for what is asked
    for by name."""
    caller = session_key.named(ctx.caller.name)
    if caller is None:
        return
    group = workgroups.find(tx, work_group)
    given = None if group is None else group.configuration.get("ExecutionRole")
    if (asked or given or None) != sessions.get(tx, caller).execution_role:
        raise AccessDenied("You are not authorized to start a session under another role.")


def _enter(ctx: Context, tx: Connection, request: Input, target: Target) -> Iterator[Permission]:
    """Code in a session has what that one's role gives. So a session puts none into those of other
    roles, whatever its policy says: it would climb out of its own."""
    caller = session_key.named(ctx.caller.name)
    if caller is None:
        return
    own, asked = sessions.get(tx, caller), sessions.find(tx, request["SessionId"])
    if asked is not None and asked.execution_role != own.execution_role:
        raise AccessDenied("You are not authorized to run code in a session of another role.")
    yield from ()


def _pass_role(role: str | None) -> Iterator[Permission]:
    if role:
        yield Permission("iam:PassRole", Target(role))


def _write_outputs(result: Input) -> Iterator[Permission]:
    """The server itself writes outputs there, so it must not be sent where the caller may not."""
    location = result.get("OutputLocation", "")
    if location.startswith("s3://"):
        below = location.removeprefix("s3://").rstrip("/")
        yield Permission("s3:PutObject", Target(f"arn:aws:s3:::{below}/{_EVERY}"))


def _request_tags(request: Input) -> Tags:
    """Of StartSession, CreateWorkGroup and TagResource; UntagResource gives keys alone."""
    given = request.get("Tags")
    if given:
        pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in given]
        return Tags(pairs, [key for key, _ in pairs])
    keys = request.get("TagKeys")
    return Tags((), keys) if keys else NO_TAGS


Rule = Callable[[Guard, Context, Input], Awaitable[Target]]
Further = Callable[[Context, Connection, Input, Target], Iterator[Permission]]

#: Operation to how its workgroup is found. Every operation has a row, or it cannot be called.
RULES: Final[Mapping[str, Rule]] = {
    "StartSession": _by_work_group,
    "GetSession": _by_session,
    "GetSessionStatus": _by_session,
    "ListSessions": _by_work_group,
    "TerminateSession": _by_session,
    "ListExecutors": _by_session,
    "StartCalculationExecution": _by_session,
    "GetCalculationExecution": _by_calculation,
    "GetCalculationExecutionStatus": _by_calculation,
    "GetCalculationExecutionCode": _by_calculation,
    "ListCalculationExecutions": _by_session,
    "StopCalculationExecution": _by_calculation,
    "CreateNotebook": _by_work_group,
    "ImportNotebook": _by_work_group,
    "ExportNotebook": _by_notebook,
    "GetNotebookMetadata": _by_notebook,
    "ListNotebookMetadata": _by_work_group,
    "UpdateNotebook": _by_notebook,
    "UpdateNotebookMetadata": _by_notebook,
    "DeleteNotebook": _by_notebook,
    "ListNotebookSessions": _by_notebook,
    "CreatePresignedNotebookUrl": _by_session,
    "CreateWorkGroup": _by_name,
    "GetWorkGroup": _by_work_group,
    "UpdateWorkGroup": _by_work_group,
    "DeleteWorkGroup": _by_work_group,
    "ListWorkGroups": _everything,
    "ListEngineVersions": _everything,
    "ListApplicationDPUSizes": _everything,
    "TagResource": _by_arn,
    "UntagResource": _by_arn,
    "ListTagsForResource": _by_arn,
}
#: Operation to what some of its requests need besides ``athena:<operation>``.
FURTHER: Final[Mapping[str, Further]] = {
    "StartSession": _start_session,
    "StartCalculationExecution": _enter,
    "CreatePresignedNotebookUrl": _enter,
    "ImportNotebook": _import_notebook,
    "CreateWorkGroup": _create_work_group,
    "UpdateWorkGroup": _update_work_group,
}

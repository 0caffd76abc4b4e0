"""The workgroup operations, and the lists of engines and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain import session as session_domain
from sparkowl.domain import tags
from sparkowl.domain import workgroup as domain
from sparkowl.domain.arns import Resource
from sparkowl.domain.engine import ENGINE_VERSIONS
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import SessionId
from sparkowl.domain.reason import Code, explain
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import notebooks, sessions, workgroups
from sparkowl.store import tags as tag_rows

Input = Mapping[str, Any]
Output = dict[str, Any]

#: AWS's quota for an account and region.
MAX_WORK_GROUPS: Final = 1000
#: The runtime that Athena's model gives as its example; sizes are fixed at one DPU.
_DPU_SIZES: Final = (("Athena notebook version 1", (1,)),)


async def create_work_group(ctx: Context, request: Input) -> Output:
    """A new workgroup. The texts of the refusals are ones that CloudFormation looks for."""
    name = request["Name"]
    if request.get("Tags") == []:
        raise InvalidRequest("Tags provided upon WorkGroup creation must not be empty")
    added = tags.with_added({}, tags.from_request(request.get("Tags", ())))
    work_group = domain.create(
        name,
        request.get("Configuration", {}),
        description=request.get("Description"),
        at=ctx.clock.now(),
    )

    def write(tx: Connection) -> None:
        if workgroups.find(tx, name) is not None:
            raise InvalidRequest(f"WorkGroup {name} is already created.")
        if workgroups.count(tx) >= MAX_WORK_GROUPS:
            raise InvalidRequest(f"An account has at most {MAX_WORK_GROUPS} workgroups.")
        workgroups.insert_work_group(tx, work_group)
        tag_rows.put(tx, Resource(name).key, added)

    await ctx.store.write(write)
    return {}


async def update_work_group(ctx: Context, request: Input) -> Output:
    """What is named is changed. Sessions that have started keep what they started with."""
    state = request.get("State")

    def write(tx: Connection) -> None:
        changed = domain.update(
            workgroups.get(tx, request["WorkGroup"]),
            request.get("ConfigurationUpdates", {}),
            description=request.get("Description"),
            state=None if state is None else domain.State(state),
        )
        workgroups.replace(tx, changed)

    await ctx.store.write(write)
    return {}


async def delete_work_group(ctx: Context, request: Input) -> Output:
    """Delete a workgroup without live sessions and notebooks; with RecursiveDeleteOption, with
    them: the sessions are ended, the notebooks are gone.

    Sessions that have ended stay readable by their ids.
    """
    name = request["WorkGroup"]
    if name == domain.PRIMARY:
        raise InvalidRequest(f"WorkGroup {name} cannot be deleted.")
    now = ctx.clock.now()

    def write(tx: Connection) -> list[SessionId]:
        workgroups.get(tx, name)
        # One that is ending already keeps nothing from going.
        live = [
            session.id
            for session in sessions.list_live(tx, name)
            if session.state is not session_domain.State.TERMINATING
        ]
        if not request.get("RecursiveDeleteOption"):
            _require_empty(name, len(live), notebooks.count(tx, name))
        for session_id in live:
            reason = explain(Code.USER, "Its WorkGroup was deleted.")
            event = session_domain.Event.TERMINATE_ASKED
            sessions.change(tx, session_id, event, at=now, reason=reason)
        notebooks.delete_all(tx, name)
        workgroups.delete_work_group(tx, name)
        tag_rows.clear(tx, Resource(name).key)
        return live

    for session_id in await ctx.store.write(write):
        ctx.wake(session_id)
    return {}


def _require_empty(name: str, live: int, kept: int) -> None:
    if live:
        raise InvalidRequest(
            f"WorkGroup {name} is not empty: {live} of its sessions are live. End them, "
            "or set RecursiveDeleteOption."
        )
    if kept:
        raise InvalidRequest(
            f"WorkGroup {name} is not empty: it has {kept} notebooks. Delete them, "
            "or set RecursiveDeleteOption."
        )


async def get_work_group(ctx: Context, request: Input) -> Output:
    work_group = await ctx.store.read(lambda tx: workgroups.get(tx, request["WorkGroup"]))
    return {
        "WorkGroup": {
            "Name": work_group.name,
            "State": work_group.state,
            "Description": work_group.description,
            "Configuration": work_group.configuration,
            "CreationTime": work_group.created_at,
        }
    }


async def list_work_groups(ctx: Context, request: Input) -> Output:
    """In the order of names: those that the caller may look at."""

    def read(tx: Connection) -> Output:
        rows, token = Pages(ctx.paging_key, "ListWorkGroups", request, 50).page(
            lambda after, limit: _visible(ctx, tx, after, limit),
            lambda work_group: work_group.name,
        )
        summaries = [
            {
                "Name": work_group.name,
                "State": work_group.state,
                "Description": work_group.description,
                "CreationTime": work_group.created_at,
                "EngineVersion": work_group.configuration["EngineVersion"],
            }
            for work_group in rows
        ]
        return {"WorkGroups": summaries, "NextToken": token}

    return await ctx.store.read(read)


def _visible(ctx: Context, tx: Connection, after: str | None, limit: int) -> list[domain.WorkGroup]:
    """A page is full unless the list ends: what is not shown takes no place in it."""
    found: list[domain.WorkGroup] = []
    while len(found) < limit:
        rows = workgroups.list_page(tx, after=after, limit=limit)
        for row in rows:
            if ctx.caller.allows("athena:GetWorkGroup", ctx.account.work_group(row.name)):
                found.append(row)
        if len(rows) < limit:
            break
        after = rows[-1].name
    return found[:limit]


async def list_engine_versions(ctx: Context, request: Input) -> Output:
    versions = list(ENGINE_VERSIONS.items())
    rows, token = Pages(ctx.paging_key, "ListEngineVersions", request, 10).page(
        lambda after, limit: versions[after or 0 :][:limit],
        lambda row: versions.index(row) + 1,
    )
    return {
        "EngineVersions": [
            {"SelectedEngineVersion": selected, "EffectiveEngineVersion": effective}
            for selected, effective in rows
        ],
        "NextToken": token,
    }


async def list_application_dpu_sizes(ctx: Context, request: Input) -> Output:
    rows, token = Pages(ctx.paging_key, "ListApplicationDPUSizes", request, 100).page(
        lambda after, limit: _DPU_SIZES[after or 0 :][:limit],
        lambda row: _DPU_SIZES.index(row) + 1,
    )
    return {
        "ApplicationDPUSizes": [
            {"ApplicationRuntimeId": runtime, "SupportedDPUSizes": list(sizes)}
            for runtime, sizes in rows
        ],
        "NextToken": token,
    }

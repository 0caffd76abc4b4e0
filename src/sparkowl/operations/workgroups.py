"""Workgroups and engines, as far as they can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from sparkowl.domain.workgroup import ENGINE_VERSIONS, SPARK_ENGINES, WorkGroup
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import workgroups

Input = Mapping[str, Any]
Output = dict[str, Any]

#: The runtime that Athena's model gives as its example; sizes are fixed at one DPU.
_DPU_SIZES: Final = (("Athena notebook version 1", (1,)),)


async def get_work_group(ctx: Context, request: Input) -> Output:
    work_group = await ctx.store.read(lambda tx: workgroups.get(tx, request["WorkGroup"]))
    return {
        "WorkGroup": {
            "Name": work_group.name,
            "State": work_group.state,
            "Description": work_group.description,
            "Configuration": _configuration(ctx, work_group),
            "CreationTime": work_group.created_at,
        }
    }


def _configuration(ctx: Context, work_group: WorkGroup) -> Output:
    """As it was sent; a Spark workgroup that names no output location shows the one it uses."""
    if work_group.output_location is not None or work_group.engine_version not in SPARK_ENGINES:
        return dict(work_group.configuration)
    result = {
        **work_group.configuration.get("ResultConfiguration", {}),
        "OutputLocation": ctx.output_location,
    }
    return {**work_group.configuration, "ResultConfiguration": result}


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


def _visible(ctx: Context, tx: Connection, after: str | None, limit: int) -> list[WorkGroup]:
    """A page is full unless the list ends: what is not shown takes no place in it."""
    found: list[WorkGroup] = []
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

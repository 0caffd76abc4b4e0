"""The tag operations, on workgroups and sessions.

Unlike elsewhere in Athena, an ARN that names nothing is a ResourceNotFoundException here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from sparkowl.domain import tags
from sparkowl.domain.arns import Resource
from sparkowl.domain.errors import ResourceNotFound
from sparkowl.operations.context import Context
from sparkowl.operations.paging import Pages
from sparkowl.store import sessions, workgroups
from sparkowl.store import tags as rows

Input = Mapping[str, Any]
Output = dict[str, Any]


async def tag_resource(ctx: Context, request: Input) -> Output:
    """Add tags; one with the key of an older one replaces it."""
    added = tags.from_request(request["Tags"])

    def write(tx: Connection) -> None:
        resource = _existing(ctx, tx, request["ResourceARN"])
        # Counted together with those that are there, so that a resource never has too many.
        tags.with_added(rows.of(tx, resource.key), added)
        rows.put(tx, resource.key, added)

    await ctx.store.write(write)
    return {}


async def untag_resource(ctx: Context, request: Input) -> Output:
    """Take tags away; a key that the resource does not have is no error."""
    keys = request["TagKeys"]
    tags.require_free(keys, "TagKeys:")

    def write(tx: Connection) -> None:
        rows.remove(tx, _existing(ctx, tx, request["ResourceARN"]).key, keys)

    await ctx.store.write(write)
    return {}


async def list_tags_for_resource(ctx: Context, request: Input) -> Output:
    """In the order of keys."""

    def read(tx: Connection) -> Output:
        resource = _existing(ctx, tx, request["ResourceARN"])
        found, token = Pages(ctx.paging_key, "ListTagsForResource", request, 100).page(
            lambda after, limit: rows.page(tx, resource.key, after=after, limit=limit),
            lambda tag: tag[0],
        )
        return {"Tags": tags.to_response(found), "NextToken": token}

    return await ctx.store.read(read)


def _existing(ctx: Context, tx: Connection, arn: str) -> Resource:
    resource = ctx.account.parse(arn)
    if resource.session_id is None:
        if workgroups.find(tx, resource.work_group) is None:
            raise ResourceNotFound(f"WorkGroup {resource.work_group} is not found.", arn)
        return resource
    session = sessions.find(tx, resource.session_id)
    if session is None or session.work_group != resource.work_group:
        raise ResourceNotFound(f"Session {resource.session_id} is not found.", arn)
    return resource

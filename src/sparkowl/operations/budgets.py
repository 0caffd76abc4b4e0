"""What a workgroup's budget says to another session. The rest of it is the supervisor's."""

from __future__ import annotations

from sqlalchemy import Connection

from sparkowl.operations.context import Context
from sparkowl.store import usage


def require_budget(ctx: Context, tx: Connection, work_group: str) -> None:
    """Raise TooManyRequests when the workgroup has a budget and it is used up."""
    budget = ctx.budgets.get(work_group)
    if budget is None:
        return
    now = ctx.clock.now()
    since, _ = budget.period.bounds(now)
    budget.allow_session(usage.used(tx, work_group, since, now), now)

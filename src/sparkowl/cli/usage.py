"""``sparkowl usage``: DPU-hours by workgroup, day, tag or principal.

It reads the data directory itself, as the operator who owns it, whether or not a server runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sparkowl.cli.options import DataDir, fail, plain, settings
from sparkowl.cli.owned import read
from sparkowl.domain.usage import WORK_GROUP, Group, Total, groups_by, tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: What stands where a session has no tag of this key, or no principal.
_NONE: Final = "-"


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(help="workgroup, day, principal or tag:KEY; several make several columns."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this day or time on (2026-01-31, UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this day or time; else now.")] = None,
    workgroup: Annotated[str | None, typer.Option(help="Only this workgroup.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show the DPU-hours that sessions used, and how many sessions used them."""
    # Imported here: the store's imports are not for the other commands.
    from sparkowl.store import usage as store

    groups = list(dict.fromkeys(by or [WORK_GROUP]))
    for name in groups:
        if not groups_by(name):
            fail(f"--by {name}: say workgroup, day, principal or tag:KEY.", code=2)
    now = datetime.now(UTC)
    begin = _time("--since", since, _EVER)
    # What has not been yet cannot have been used.
    end = min(_time("--until", until, now), now)
    if begin > end:
        fail("--since is later than --until, or than now.", code=2)

    def total(tx: Connection) -> dict[Group, Total]:
        uses = store.stream(tx, groups, since=begin, until=end, work_group=workgroup)
        return tally(uses, groups)

    totals = read(settings(data_dir), total)
    if as_json:
        print(json.dumps([_member(groups, *item) for item in totals.items()], indent=2))
    else:
        _print_table(groups, totals)


def _time(option: str, text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: give a day (2026-01-31) or a time (2026-01-31T08:00Z).", code=2)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _member(groups: Sequence[str], group: Group, total: Total) -> dict[str, object]:
    named: dict[str, object] = dict(zip(groups, group, strict=True))
    return named | {"sessions": total.sessions, "dpu_hours": round(total.dpu_hours, 6)}


def _print_table(groups: Sequence[str], totals: Mapping[Group, Total]) -> None:
    """Plain columns: what a script cuts must not depend on the terminal's width."""
    lines = [[*(name.upper() for name in groups), "SESSIONS", "DPU_HOURS"]]
    for group, total in totals.items():
        values = [_NONE if value is None else plain(value) for value in group]
        lines.append([*values, str(total.sessions), f"{total.dpu_hours:.3f}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        names = [value.ljust(width) for value, width in zip(line[:-2], widths, strict=False)]
        numbers = [value.rjust(width) for value, width in zip(line[-2:], widths[-2:], strict=True)]
        print("  ".join([*names, *numbers]))

"""``make docs``: the reference pages that the code itself knows best.

``docs.py`` writes them; ``docs.py --check`` ends with status 1 when one is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sparkowl.config import Settings
from sparkowl.domain import calculation, property_rules, session
from sparkowl.domain.properties import may_be_set_at_run_time, why_refused
from sparkowl.launchers.engines import looked_at
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from faults import results as faults  # noqa: E402  it is beside the package, not in it

REFERENCE = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code; do not edit. -->\n\n"

#: Operations of Athena's API that belong to Spark sessions; the rest is Athena SQL's.
SPARK_WORDS = ("Session", "Calculation", "Notebook", "WorkGroup", "Executors", "EngineVersions",
               "DPUSizes", "Resource")  # fmt: skip


def pages() -> dict[str, str]:
    return {
        "operations.md": GENERATED + operations(),
        "states.md": GENERATED + states(),
        "configuration.md": GENERATED + configuration(),
        "properties.md": GENERATED + properties(),
        "faults.md": GENERATED + faults.page(json.loads(faults.FILE.read_text())),
    }


def operations() -> str:
    spark = [name for name in model.operations() if any(word in name for word in SPARK_WORDS)]
    others = len(model.operations()) - len(spark)
    rows = "\n".join(
        f"| {name} | {'yes' if name in OPERATIONS else 'not yet'} |" for name in sorted(spark)
    )
    built = sum(name in OPERATIONS for name in spark)
    return (
        "# Operations\n\n"
        f"{built} of the {len(spark)} operations of Athena's API that have to do with Spark "
        f"sessions are built. The other {others} are Athena SQL's and answer "
        "`UnknownOperationException`.\n\n"
        f"| operation | built |\n|---|---|\n{rows}\n"
    )


def states() -> str:
    return (
        "# States\n\nDrawn from the tables in `sparkowl.domain`. An arrow is an event; events that "
        "leave a state as it is are not drawn.\n\n"
        f"## Sessions\n\n{_diagram(session.TRANSITIONS, 'CREATING')}\n"
        f"## Calculations\n\n{_diagram(calculation.TRANSITIONS, 'CREATING')}"
    )


def _diagram(table: Mapping[Any, Mapping[Any, StrEnum]], start: str) -> str:
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for state, row in table.items():
        moves = {event: to for event, to in row.items() if to is not state}
        lines += [f"    {state} --> {to}: {event}" for event, to in moves.items()]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def configuration() -> str:
    intro = (
        "# Settings\n\n`sparkowl.toml` in the data directory (or the file that `SPARKOWL_CONFIG` "
        "names), or environment variables: `SPARKOWL_` and the name, with two underscores for a "
        "section's dot (`SPARKOWL_DRIVER__HEAP=2g`). The environment wins over the file, the "
        "command line over both. A name that does not exist stops the start.\n\n"
        "| setting | default | meaning |\n|---|---|---|\n"
    )
    return intro + "\n".join(_settings(Settings)) + "\n"


def _settings(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        shape = field.annotation
        meaning = " ".join((field.description or "").split())
        inner = _section_within(field)
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            yield from _settings(shape, f"{prefix}{name}.")
        elif inner is not None:
            # Either a table of sections, each under a name of its own, or a section that may miss.
            each = '"…".' if get_origin(shape) is dict else ""
            yield f"| `{prefix}{name}` | none | {meaning} |"
            yield from _settings(inner, f"{prefix}{name}.{each}")
        else:
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"


def _section_within(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a table of sections, or one that may be missing, is made of."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "see text"
    return f"`{field.default}`" if field.default is not None else "unset"


def properties() -> str:
    sparks = looked_at()
    versions = [known.spark_version for known in sparks]
    allowed: dict[str, list[str]] = {}
    refused: dict[str, set[str]] = {}
    for known in sparks:
        for key in sorted(known.properties):
            if may_be_set_at_run_time(key, known):
                allowed.setdefault(key, []).append(known.spark_version)
            elif key not in property_rules.LAUNCH and key not in property_rules.PINNED:
                refused.setdefault(why_refused(key), set()).add(key)
    run_time = "\n".join(
        key if had == versions else f"{key}  ({', '.join(had)} only)"
        for key, had in sorted(allowed.items())
    )
    launch = {**property_rules.LAUNCH, **property_rules.UNDECLARED}
    return (
        "# Spark properties\n\n"
        "What `EngineConfiguration.SparkProperties` and `Classifications` (`spark-defaults`) may "
        "hold. A name is taken as Spark would see it: without blanks around it, and under its name "
        "of today (`spark.yarn.executor.memoryOverhead` is `spark.executor.memoryOverhead`). One "
        "property with two values is refused. Names that do not begin with `spark.` are ignored, "
        "as on AWS. A property that may not be set makes the session FAILED, and its "
        "StateChangeReason says which and why.\n\n"
        f"The list was made from what Apache Spark {' and '.join(versions)} say that they know. "
        "A property must be on it, and the Spark that runs must know it; what a later Spark adds "
        "is refused until somebody looked at it.\n\n"
        "## Set on a running session\n\n"
        "A warm driver takes these.\n\n"
        f"```\n{run_time}\n```\n\n"
        "Also, as they are read inside the session only: `spark.sql.catalog.<name>` and "
        "`spark.sql.catalog.<name>.<option>` (but for options that begin with `hadoop.`), "
        "`spark.sql.iceberg.*`, and `spark.databricks.delta.` with `properties.defaults.*`, "
        "`schema.*` or `retentionDurationCheck.*`. Values that name a file of the server "
        "(`file:…`, `/…`) are refused.\n\n"
        "## Fixed at launch\n\n"
        "A session that sets one of these starts cold, with a driver of its own. On one machine "
        "those of executors and of dynamic allocation have no effect.\n\n"
        "| property | value |\n|---|---|\n"
        + "".join(f"| `{key}` | {kind.words} |\n" for key, kind in sorted(launch.items()))
        + "\n## Pinned\n\n"
        "Already so. A session may say it, and nothing else.\n\n"
        "| property | value |\n|---|---|\n"
        + "".join(f"| `{key}` | `{value}` |\n" for key, value in property_rules.PINNED.items())
        + "\n## Refused\n\n| because | properties of Spark | such as |\n|---|---|---|\n"
        + "".join(
            f"| {why} | {len(keys)} | {', '.join(f'`{key}`' for key in sorted(keys)[:4])} |\n"
            for why, keys in sorted(refused.items(), key=lambda item: (-len(item[1]), item[0]))
        )
        + "| `spark.athena.` is reserved, as on AWS | | `spark.athena.x` |\n"
    )


def main() -> int:
    stale = [
        name
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    ]
    if "--check" in sys.argv:
        print("\n".join(f"docs/reference/{name} is stale: run make docs" for name in stale))
        return bool(stale)
    for name in stale:
        (REFERENCE / name).write_text(pages()[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())

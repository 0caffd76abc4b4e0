"""``make docs``: the reference pages that the code itself knows best.

``docs.py`` writes them; ``docs.py --check`` ends with status 1 when one is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sparkowl.config import Settings
from sparkowl.domain import calculation, session
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code; do not edit. -->\n\n"

#: Operations of Athena's API that belong to Spark sessions; the rest is Athena SQL's.
SPARK_WORDS = ("Session", "Calculation", "Notebook", "WorkGroup", "Executors", "EngineVersions",
               "DPUSizes", "Resource")  # fmt: skip


def pages() -> dict[str, str]:
    return {
        "operations.md": GENERATED + operations(),
        "states.md": GENERATED + states(),
        "configuration.md": GENERATED + configuration(),
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
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            yield from _settings(shape, f"{prefix}{name}.")
        elif (section_of_each := _section_of_each(field)) is not None:
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | none | {meaning} |"
            yield from _settings(section_of_each, f'{prefix}{name}."…".')
        else:
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"


def _section_of_each(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a table of sections, each under a name of its own, is made of."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "see text"
    return f"`{field.default}`" if field.default is not None else "unset"


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

"""The figures of all runs, in a file that is complete after each of them."""

from __future__ import annotations

import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from faults.catalog import FAULTS, INVARIANTS, POINTS, cannot

FILE: Final = Path(__file__).parent / "results.json"


class Results:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        self.found.setdefault("cells", {})
        self.found.setdefault("random", [])

    def add(self, point: str, fault: str, recovered_s: float, violated: bool) -> None:
        cell = self.found["cells"].setdefault(f"{point}: {fault}", {"violations": 0, "s": []})
        cell["violations"] += violated
        cell["s"].append(round(recovered_s, 2))
        self.found["date"] = datetime.now(UTC).date().isoformat()
        self.found["processors"] = os.cpu_count()

    def begin_random(self, seed: int) -> dict[str, Any]:
        entry = {"seed": seed, "runs": 0, "violations": 0}
        self.found["random"].append(entry)
        return entry

    def save(self) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(self.found, indent=1, sort_keys=True) + "\n")
        aside.replace(self._file)


def page(found: dict[str, Any]) -> str:
    """docs/reference/faults.md."""
    cells, random = found.get("cells", {}), found.get("random", [])
    tried = sum(len(cell["s"]) for cell in cells.values())
    violations = sum(cell["violations"] for cell in cells.values())
    runs = sum(entry["runs"] for entry in random)
    seeds = ", ".join(str(entry["seed"]) for entry in random) or "none"
    broken = sum(entry["violations"] for entry in random)
    return (
        "# Faults\n\n`make faults` breaks things at every point of a session's and a "
        "calculation's life, with real servers, real drivers and real Spark, and looks whether "
        "what must hold holds again within a minute.\n\n"
        f"Last run {found.get('date', 'never')}, on a machine with "
        f"{found.get('processors', 'no')} processors: {tried} faults, {violations} violations. "
        f"Of these, {runs} were drawn at random (seeds: {seeds}), with {broken} violations.\n\n"
        "`python -m faults --runs 1 --seed N` repeats what a seed draws; "
        "`--only 'idle: kill agent'` tries one thing.\n\n"
        "## Points\n\n| point | the fault happens when |\n|---|---|\n"
        + "".join(f"| {point} | {words} |\n" for point, words in POINTS.items())
        + "\n## What is broken\n\n| fault | meaning |\n|---|---|\n"
        + "".join(f"| {fault} | {words} |\n" for fault, words in FAULTS.items())
        + "\n## What must hold afterwards\n\n"
        + "".join(f"{number}. {words}\n" for number, words in enumerate(INVARIANTS, 1))
        + "\n## Figures\n\nRecovered in: from the end of the fault (the server is ready again, "
        "the process thawed, the disk free) until everything above holds, with a new block run; "
        "median and longest.\n\n"
        "| fault | where | tried | violations | recovered in |\n|---|---|---|---|---|\n"
        + "".join(_line(cells, point, fault) for fault in FAULTS for point in POINTS)
    )


def _line(cells: dict[str, Any], point: str, fault: str) -> str:
    why = cannot(point, fault)
    if why is not None:
        return f"| {fault} | {point} | cannot happen: {why} | | |\n"
    cell = cells.get(f"{point}: {fault}")
    if cell is None:
        return f"| {fault} | {point} | not yet | | |\n"
    took = f"{statistics.median(cell['s']):.1f} s, {max(cell['s']):.1f} s"
    return f"| {fault} | {point} | {len(cell['s'])} | {cell['violations']} | {took} |\n"

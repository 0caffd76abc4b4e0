"""The figures of all runs, in a file that is complete after each of them."""

from __future__ import annotations

import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from faults.catalog import BOUND_S, FAULTS, INVARIANTS, POINTS, cannot

FILE: Final = Path(__file__).parent / "results.json"


class Results:
    def __init__(self, file: Path, *, new: bool = False) -> None:
        """``new``: without the figures that the file has already."""
        self._file = file
        there = file.exists() and not new
        self.found: dict[str, Any] = json.loads(file.read_text()) if there else {}
        self.found.setdefault("cells", {})
        self.found.setdefault("random", [])
        #: The machine's load average at the end of each run.
        self.found.setdefault("load", [])

    def add(self, point: str, fault: str, recovered_s: float, violated: bool) -> None:
        cell = self.found["cells"].setdefault(f"{point}: {fault}", {"violations": 0, "s": []})
        cell["violations"] += violated
        cell["s"].append(round(recovered_s, 2))
        self.found["load"].append(round(os.getloadavg()[0], 1))
        self.found["date"] = datetime.now(UTC).date().isoformat()
        self.found["processors"] = os.cpu_count()

    def begin_random(self, seed: int) -> dict[str, Any]:
        entry = {"seed": seed, "runs": 0, "violations": 0}
        self.found["random"].append(entry)
        return entry

    def merge(self, other: dict[str, Any]) -> None:
        """Add the figures of another file: of another seed, or of a suite that ran beside."""
        for name, cell in other["cells"].items():
            ours = self.found["cells"].setdefault(name, {"violations": 0, "s": []})
            ours["violations"] += cell["violations"]
            ours["s"] += cell["s"]
        self.found["random"] += [entry for entry in other["random"] if entry["runs"]]
        self.found["load"] += other.get("load", [])
        for fact in ("date", "processors"):
            known = [one[fact] for one in (self.found, other) if fact in one]
            self.found |= {fact: max(known)} if known else {}

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
    seeds = ", ".join(f"{entry['seed']} ({entry['runs']} runs)" for entry in random) or "none"
    broken = sum(entry["violations"] for entry in random)
    possible = [f"{p}: {f}" for f in FAULTS for p in POINTS if cannot(p, f) is None]
    untried = sum(name not in cells for name in possible)
    return (
        "# Faults\n\n`make faults` breaks things at every point of a session's and a "
        "calculation's life, with real servers, real drivers and real Spark, and looks whether "
        f"what must hold holds again within {BOUND_S:g} seconds. What does not is a violation.\n\n"
        f"Last run {found.get('date', 'never')}, on a machine with "
        f"{found.get('processors', 'no')} processors: {tried} runs with one fault each, "
        f"{violations} violations. {runs} of them were drawn at random, with {broken} violations; "
        "the others tried one combination after the other. Of the "
        f"{len(possible)} combinations of a fault and a point that can happen, "
        f"{len(possible) - untried} were tried.{_load(found)}\n\n"
        + (f"{found['note']}\n\n" if found.get("note") else "")
        + f"Seeds: {seeds}. `python -m faults --seed N --runs 40` draws the same faults at the "
        "same points again, with the same version of the suite; "
        "`python -m faults --only 'idle: kill agent'` tries one thing, and "
        "`python -m faults --merge FILE...` makes one page of several files of figures.\n\n"
        "## Points\n\n| point | the fault happens when |\n|---|---|\n"
        + "".join(f"| {point} | {words} |\n" for point, words in POINTS.items())
        + "\n## What is broken\n\n| fault | meaning |\n|---|---|\n"
        + "".join(f"| {fault} | {words} |\n" for fault, words in FAULTS.items())
        + "\n## What must hold afterwards\n\n"
        + "".join(f"{number}. {words}\n" for number, words in enumerate(INVARIANTS, 1))
        + "\n## Figures\n\nRecovered in: from the end of the fault (the server is ready again, "
        "the process thawed, the disk free) until everything above holds, with a new block run; "
        "median and longest. Where it is a session's start that was disturbed, the start itself is "
        "most of it.\n\n"
        "| fault | where | tried | violations | recovered in |\n|---|---|---|---|---|\n"
        + "".join(_line(cells, point, fault) for fault in FAULTS for point in POINTS)
    )


def _load(found: dict[str, Any]) -> str:
    load = found.get("load")
    if not load:
        return ""
    return (
        f" Other work ran on it meanwhile: its load average was {statistics.median(load):.0f} "
        f"(median) and up to {max(load):.0f}, so the times below are those of a busy machine."
    )


def _line(cells: dict[str, Any], point: str, fault: str) -> str:
    why = cannot(point, fault)
    if why is not None:
        return f"| {fault} | {point} | cannot happen: {why} | | |\n"
    cell = cells.get(f"{point}: {fault}")
    if cell is None:
        return f"| {fault} | {point} | not tried | | |\n"
    took = f"{statistics.median(cell['s']):.1f} s, {max(cell['s']):.1f} s"
    return f"| {fault} | {point} | {len(cell['s'])} | {cell['violations']} | {took} |\n"

"""Runs the faults, prints what was violated, and keeps the figures."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from faults import results, runs
from faults.world import left_out


def main() -> int:
    asked = _arguments()
    # Asked to stop: through every `finally`, so that nothing is left of the suite itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.merge:
        return _merge(asked.results, asked.merge, asked.note)
    for fault, why in left_out().items():
        print(f"left out: {fault}: {why}")
    figures = results.Results(asked.results)
    suite = runs.Suite(figures, asked.evidence)
    broken = 0
    try:
        if asked.only is not None:
            broken += _all(suite, [p for p in runs.every() if asked.only in str(p)] * asked.times)
        if asked.matrix:
            broken += _all(suite, runs.every() * asked.times)
        if asked.random is not None or asked.runs is not None:
            broken += _random(suite, figures, asked)
    finally:
        left = suite.close()
        for one in left:
            print(f"VIOLATED at the end: {one}")
    print(f"{broken} runs violated something")
    return bool(broken or left)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--matrix", action="store_true", help="every fault at every point")
    parser.add_argument("--times", type=int, default=1, help="how often (default 1)")
    parser.add_argument("--only", help="those whose '<point>: <fault>' has this in it")
    parser.add_argument("--random", type=float, metavar="MINUTES", help="faults drawn at random")
    parser.add_argument("--runs", type=int, help="the same, so many")
    parser.add_argument("--seed", type=int, help="what is drawn follows from it")
    parser.add_argument("--results", type=Path, default=results.FILE, help="file of figures")
    parser.add_argument(
        "--merge", type=Path, nargs="+", metavar="FILE", help="only write the figures of these"
    )
    parser.add_argument("--note", default="", help="with --merge: a sentence for the page")
    parser.add_argument(
        "--evidence", type=Path, default=Path("faults-evidence"), help="folder for what broke"
    )
    asked = parser.parse_args()
    if not (asked.matrix or asked.only or asked.random or asked.runs):
        asked.matrix, asked.random = True, 10.0
    return asked


def _merge(into: Path, files: list[Path], note: str) -> int:
    merged = results.Results(into, new=True)
    merged.found["note"] = note
    for file in files:
        merged.merge(json.loads(file.read_text()))
    merged.save()
    return 0


def _all(suite: runs.Suite, plans: Iterable[runs.Plan]) -> int:
    return sum(bool(suite.run(plan)) for plan in plans)


def _random(suite: runs.Suite, figures: results.Results, asked: Any) -> int:
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    entry = figures.begin_random(seed)
    deadline = None if asked.random is None else time.monotonic() + asked.random * 60
    for number, plan in enumerate(islice(runs.drawn(seed), asked.runs), 1):
        if deadline is not None and time.monotonic() > deadline:
            break
        wrong = suite.run(plan)
        entry["runs"] += 1
        entry["violations"] += bool(wrong)
        figures.save()
        if wrong:
            print(f"       again: --seed {seed} --runs {number}", flush=True)
    return int(entry["violations"])


if __name__ == "__main__":
    sys.exit(main())

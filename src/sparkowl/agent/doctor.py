"""``python -m sparkowl.agent.doctor``: what this environment can run, for ``sparkowl doctor``.

JSON in, all of it optional: ``cache_dir``, ``java_home``, and what :mod:`.isolation` asks for. JSON
out. Nothing is written.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import isolation, java, jvm


def report(asked: Mapping[str, Any]) -> dict[str, Any]:
    """One entry per question; ``problem`` is null or a sentence that says what to do."""
    home, spark_entry = _spark()
    found, java_entry = _java(asked.get("java_home"), spark_entry["version"])
    return {
        "python": {"version": platform.python_version(), "path": sys.executable, "problem": None},
        "java": java_entry,
        "spark": spark_entry,
        "packages": _packages(),
        "archive": _archive(asked.get("cache_dir"), found, home),
        "isolation": _isolation(asked),
    }


#: What an agent and its kernel import besides Spark, as package and as distribution.
_NEEDED: Final = {
    "ipykernel": "ipykernel",
    "jupyter_client": "jupyter-client",
    "websockets": "websockets",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
}


#: From these on they encrypt the kernel's sockets; older ones would not, and would not say so.
_AT_LEAST: Final = {"ipykernel": (7, 4), "jupyter-client": (8, 10)}


def _packages() -> dict[str, Any]:
    missing = [name for package, name in _NEEDED.items() if find_spec(package) is None]
    old = [
        f"{name} {version(name)} (at least {'.'.join(map(str, least))} is needed)"
        for name, least in _AT_LEAST.items()
        if name not in missing and _numbers(version(name)) < least
    ]
    problems = [
        f"{words}: {', '.join(names)}."
        for words, names in (("Missing packages", missing), ("Packages that are too old", old))
        if names
    ]
    return {"missing": missing, "problem": " ".join(problems) or None}


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _java(
    java_home: str | None, spark_version: str | None
) -> tuple[java.Java | None, dict[str, Any]]:
    try:
        found = java.find(java_home, os.environ, spark_version)
    except java.JavaNotFound as error:
        return None, {"version": None, "home": None, "problem": str(error)}
    return found, {"version": found.version, "home": str(found.home), "problem": None}


def _spark() -> tuple[Path | None, dict[str, Any]]:
    try:
        home = jvm.spark_home()
        entry = {"version": jvm.spark_version(home), "home": str(home), "problem": None}
    except FileNotFoundError as error:
        return None, {"version": None, "home": None, "problem": str(error)}
    return home, entry


def _archive(cache_dir: str | None, found: java.Java | None, home: Path | None) -> dict[str, Any]:
    if cache_dir is None or found is None or home is None:
        return {"status": "unknown", "path": None, "size_bytes": None, "problem": None}
    file = jvm.archive_file(Path(cache_dir), found, home)
    size = file.stat().st_size if file.is_file() else None
    return {
        "status": "missing" if size is None else "present",
        "path": str(file),
        "size_bytes": size,
        "problem": "The first sessions start slower until it is made." if size is None else None,
    }


def _isolation(asked: Mapping[str, Any]) -> dict[str, Any]:
    found = isolation.report(asked)
    names, missing = ", ".join(found["users"]), found["missing"]
    in_force = found["landlock"] or f"none: {missing}"
    in_force += f"; {found['signals']}" if found["signals"] else ""
    closed = [problem for problem in found["users"].values() if problem is not None]
    if closed:
        return {"in_force": in_force, "problem": " ".join(closed)}
    if names:
        in_force = f"user {names}, " + (in_force if not missing else f"no landlock: {missing}")
    elif missing:
        problem = "User code can read what the server's user can read. Name a driver.user."
        return {"in_force": in_force, "problem": problem}
    return {"in_force": in_force, "problem": None}


def main() -> int:
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    found = report(json.loads(given) if given.strip() else {})
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

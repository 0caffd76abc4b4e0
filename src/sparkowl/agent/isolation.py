"""``python -m sparkowl.agent.isolation``: what can keep user code apart on this machine.

JSON in: ``users``, a list of :class:`~sparkowl.agent.messages.RunAs` as objects; ``pythons``, the
interpreters that kernels run in (default: this one); ``java_home``; ``folders`` that user code must
be able to pass through; ``confine``, false where the operator wants no Landlock. JSON out:
``landlock``, ``missing`` (why there is none), ``signals`` (how far they reach, where that is too
far), and ``users``: name to null, or to a sentence that
says what that user cannot reach. Nothing is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import confine, java
from sparkowl.agent.messages import RunAs

#: What a kernel cannot do without: found and readable. To import it would take a second.
_CODE: Final = """
import importlib.util as packages
for name in ("sparkowl", "ipykernel", "pyspark"):
    open(packages.find_spec(name).origin).close()
"""


def report(asked: Mapping[str, Any]) -> dict[str, Any]:
    sandboxed = asked.get("confine", True)
    missing = confine.unavailable() if sandboxed else "turned off by driver.isolation"
    return {
        "landlock": None if missing else f"landlock v{confine.abi()}",
        "missing": missing,
        "signals": "" if missing else confine.signals(),
        "users": {user["name"]: _problem(user, asked) for user in asked.get("users", ())},
    }


def _problem(given: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    user = RunAs(**given)
    pythons = [Path(python) for python in asked.get("pythons") or [sys.executable]]
    folders = [Path(folder) for folder in asked.get("folders", ())]
    with _Eyes(user) as can:
        for folder in folders:
            closed = next(can.not_enter(folder), None)
            if closed is not None:
                return f"User {user.name} cannot enter {closed}, on the way to {folder}."
        for program in (*pythons, *_java(asked.get("java_home"))):
            closed = next(can.not_enter(program.resolve().parent), None)
            if closed is not None:
                return f"User {user.name} cannot enter {closed}, on the way to {program}."
    for python in pythons:
        said = _try(python, user)
        if said is not None:
            return f"User {user.name} cannot run kernels with {python}: {said}"
    return None


def _java(java_home: str | None) -> Sequence[Path]:
    try:
        return [java.find(java_home, os.environ).executable]
    except java.JavaNotFound:
        return []  # said elsewhere


class _Eyes:
    """Looks at the file system as another user, within a ``with``; as root before and after."""

    def __init__(self, user: RunAs) -> None:
        self._user = user
        self._groups = os.getgroups()

    def __enter__(self) -> _Eyes:
        os.setgroups(self._user.groups)
        os.setegid(self._user.gid)
        os.seteuid(self._user.uid)
        return self

    def __exit__(self, *_: object) -> None:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(self._groups)

    def not_enter(self, folder: Path) -> Iterator[Path]:
        """Those folders on the way, and the last, that the user cannot pass through."""
        for step in (*reversed(folder.parents), folder):
            if step.is_dir() and not os.access(step, os.X_OK, effective_ids=True):
                yield step


def _try(python: Path, user: RunAs) -> str | None:
    try:
        done = subprocess.run(
            [python, "-P", "-c", _CODE],
            capture_output=True,
            text=True,
            cwd="/",
            env={"PATH": os.defpath},
            user=user.uid,
            group=user.gid,
            extra_groups=list(user.groups),
            check=False,
        )
    except OSError as error:
        return f"{error.strerror}."
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return f"{lines[-1]}." if done.returncode else None


def main() -> int:
    sys.stdout.write(json.dumps(report(json.loads(sys.stdin.read() or "{}"))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

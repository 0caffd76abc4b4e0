"""``python -P -m sparkowl.agent.packages``: what an environment says of a requirements file.

Run by the Python that a workgroup's packages are for, since only it knows its version, its markers
and what is installed in it. The question is one JSON object on standard input, the answer another:
:func:`look` before the packages are installed, :func:`check` (where a ``folder`` is named) after.

What a driver itself runs on is *held*: a kernel has it loaded when user code begins, so that
another version of it would be half of each. The rest may be replaced.
"""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

#: Held with everything that they require, colorama as tornado takes it where it finds it. SparkOwl
#: itself is held without: what its server needs is nothing to a kernel.
ROOTS: Final = ("pyspark[sql]", "ipykernel", "colorama")
OURS: Final = "sparkowl"

#: By canonical name.
_Installed = Mapping[str, Distribution]


def main() -> None:
    """Answer the question."""
    asked = json.load(sys.stdin)
    if "folder" in asked:
        answer = {"problems": check(Path(asked["folder"]), asked["lines"])}
    else:
        answer = look(asked["lines"])
    json.dump(answer, sys.stdout)


def look(lines: Sequence[str]) -> dict[str, Any]:
    """What to install of the requirements, as one truth value for each; and what cannot be.

    ``environment`` names everything that the outcome depends on beside the file.
    """
    here = _installed(distributions())
    held = held_in(here)
    install, problems = [], []
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement as error:
            problems.append(f"{line}: {str(error).splitlines()[0]}")
            continue
        name = canonicalize_name(wanted.name)
        applies = wanted.marker is None or wanted.marker.evaluate()
        install.append(applies and name not in held and name != OURS)
        if applies and not install[-1] and (why := _disagreement(wanted, held.get(name))):
            problems.append(why)
    return {
        "environment": {
            "python": platform.python_version(),
            "abi": sysconfig.get_config_var("SOABI"),
            "platform": sysconfig.get_platform(),
            "installed": sorted(f"{name}=={found.version}" for name, found in here.items()),
        },
        "held": {name: held[name].version for name in sorted(held)},
        "install": install,
        "problems": problems,
    }


def _disagreement(wanted: Requirement, found: Distribution | None) -> str | None:
    if found is None:
        return f"{OURS} is the server's own"
    if wanted.url is None and wanted.specifier.contains(found.version, prereleases=True):
        return None
    asked = f"from {wanted.url}" if wanted.url else str(wanted.specifier)
    return f"{wanted.name} {asked}: drivers themselves run on {wanted.name} {found.version}"


def held_in(here: _Installed) -> dict[str, Distribution]:
    """What a driver itself runs on, by canonical name."""
    held: dict[str, Distribution] = {}
    open_, seen = [Requirement(root) for root in ROOTS], set()
    while open_:
        wanted = open_.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if key in seen or name not in here:
            continue
        seen.add(key)
        held[name] = here[name]
        open_ += _requires(here[name], wanted.extras)
    return held


def check(folder: Path, lines: Sequence[str]) -> list[str]:
    """What is wrong with the packages in a folder, in parts of a sentence; empty: nothing."""
    here = _installed(distributions())
    inside = _installed(distributions(path=[str(folder)]))
    asked: dict[str, Requirement] = {
        canonicalize_name(each.name): each for each in map(Requirement, lines)
    }
    problems = [f"{name} is not in the file" for name in sorted(set(inside) - set(asked))]
    # What is inside comes first on the path.
    together = {**here, **inside}
    for name, found in sorted(together.items()):
        wanted = asked.get(name)
        extras = wanted.extras if wanted else set()
        if name in inside or extras:
            problems += _unmet(name, found, extras, together)
    return [*problems, *_hiding(folder, held_in(here))]


def _unmet(
    name: str, found: Distribution, extras: Iterable[str], together: _Installed
) -> Iterator[str]:
    for wanted in _requires(found, extras):
        other = together.get(canonicalize_name(wanted.name))
        if other is None:
            yield f"{name} needs {wanted.name}{wanted.specifier}, which is not in the file"
        elif not wanted.specifier.contains(other.version, prereleases=True):
            yield f"{name} needs {wanted.name}{wanted.specifier}, and here it is {other.version}"


def _hiding(folder: Path, held: _Installed) -> Iterator[str]:
    """A module of the folder that would come before Python's own, or before a driver's."""
    taken = dict.fromkeys(sys.stdlib_module_names, "Python itself")
    taken |= {OURS: OURS}
    for name, found in held.items():
        taken |= dict.fromkeys(_modules(found), name)
    for entry in sorted(folder.iterdir()):
        module = entry.name.partition(".")[0]
        if entry.suffix in ("", ".py", ".so") and module in taken:
            yield f"its module {module} would hide the one of {taken[module]}"


def _modules(found: Distribution) -> Iterator[str]:
    for file in found.files or ():
        top = file.parts[0]
        if len(file.parts) > 1 and "." not in top and top not in ("bin", "share", "__pycache__"):
            yield top
        elif len(file.parts) == 1 and top.endswith((".py", ".so")):
            yield top.partition(".")[0]


def _requires(found: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    for line in found.requires or ():
        wanted = Requirement(line)
        marker = wanted.marker
        if marker is None or any(marker.evaluate({"extra": one}) for one in ("", *extras)):
            yield wanted


def _installed(found: Iterable[Distribution]) -> dict[str, Distribution]:
    """The first of each name, which is the one that is imported."""
    installed: dict[str, Distribution] = {}
    for each in found:
        # Rubbish of an interrupted pip has no name.
        if each.metadata["Name"]:
            installed.setdefault(canonicalize_name(each.metadata["Name"]), each)
    return installed


if __name__ == "__main__":
    main()

"""``sparkowl packages``: what is built from the requirements files of workgroups.

It works on the settings and the cache directory, as whoever owns them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.config import Settings
from sparkowl.domain.engine import SPARK_ENGINES
from sparkowl.launchers import engines, packages, pip
from sparkowl.launchers.engines import EngineError, Environment
from sparkowl.launchers.requirements import PackagesError

if TYPE_CHECKING:
    from sparkowl.launchers.packages import PipPackages

app = typer.Typer(
    no_args_is_help=True, help="Build what requirements files of workgroups name, ahead."
)

T = TypeVar("T")
_LINE = "{:<34}  {:<25}  {:>9}  {}"
WorkGroup = Annotated[str, typer.Argument(help="Name of the workgroup in the settings.")]
Engine = Annotated[
    str | None,
    typer.Option(help="Name of the engine. Without it: every Python that an engine runs on."),
]


@app.command()
def build(work_group: WorkGroup, engine: Engine = None, data_dir: DataDir = None) -> None:
    """Build the packages of a workgroup, so that its next session finds them."""
    given = settings(data_dir)
    made = _packages(given)
    if work_group not in made.work_groups:
        fail(
            f'Workgroup "{work_group}" has no requirements file. Name one in the settings: '
            f"[workgroups.{work_group}] requirements."
        )
    if engine is not None and engine not in SPARK_ENGINES:
        fail(f'There is no engine "{engine}". Engines: {", ".join(sorted(SPARK_ENGINES))}.')
    err.print("Building (this may take minutes)", markup=False)
    names = [engine] if engine is not None else sorted(SPARK_ENGINES)

    async def provide() -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for name in names:
            folder = await made.provide(work_group, name)
            folders.setdefault(str(folder), []).append(name)
        return folders

    for folder, built_for in _run(made, provide).items():
        print(f"{', '.join(built_for)}: {folder}")


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """List what is built; it is in use while the file has not changed since."""
    given = settings(data_dir)
    print(_LINE.format("KEY", "BUILT", "MIB", "REQUIREMENTS"))
    for kept in packages.kept(_shelf(given)):
        size = f"{kept.size_bytes / (1 << 20):.1f}"
        print(_LINE.format(kept.folder.name, kept.built_at, size, kept.requirements))
        for name in kept.names:
            print(f"    {name}")


@app.command()
def prune(data_dir: DataDir = None) -> None:
    """Delete what neither a session has nor a workgroup's file, as it is now, leads to."""
    given = settings(data_dir)
    made = _packages(given)

    async def wanted() -> set[str]:
        keys = set()
        for group in sorted(made.work_groups):
            try:
                keys |= {await made.key(group, name) for name in SPARK_ENGINES}
            except PackagesError as error:
                # Nothing is built from such a file.
                err.print(f"{group}: {error}.", markup=False)
        return keys

    spared = _run(made, wanted)
    for link in (given.data_dir / "drivers").glob("*/packages"):
        spared.add(link.resolve().parent.name)
    for gone in packages.prune(_shelf(given), frozenset(spared)):
        print(f"deleted {gone.name}")


@app.command()
def held(engine: Engine = None, data_dir: DataDir = None) -> None:
    """Print what drivers themselves run on, as constraints for what writes requirements files:
    uv pip compile -c held.txt."""
    found = _environments(settings(data_dir)).get(engine or "")
    python = sys.executable if found is None else found.python
    try:
        seen = asyncio.run(pip.ask(python, {"lines": []}))
    except PackagesError as error:
        fail(f"{error}.")
    for name, version in seen["held"].items():
        print(f"{name}=={version}")


def _run(made: PipPackages, work: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            return await work()
        finally:
            await made.close()

    try:
        return asyncio.run(run())
    except PackagesError as error:
        fail(f"{error}.")


def _packages(given: Settings) -> PipPackages:
    from sparkowl.app import chosen

    return chosen.packages(given, _environments(given))


def _environments(given: Settings) -> dict[str, Environment]:
    """By engine name, as the server finds them; what the settings name it checks at its start."""
    try:
        found = {made.name: made for made in engines.registered(given.data_dir)}
        for name, section in given.engines.items():
            if section.python is not None:
                checked = engines.read(engines.of_setting(given.data_dir, name))
                if checked is None:
                    fail(f"Start the server once: it has not looked at {section.python} yet.")
                found[name] = checked
    except EngineError as error:
        fail(str(error))
    return found


def _shelf(given: Settings) -> Path:
    return given.cache_dir / packages.FOLDER

"""``sparkowl jars``: what is not part of Spark and is fetched for it, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.config import Settings
from sparkowl.domain.coordinates import NAMES
from sparkowl.domain.engine import SPARK_ENGINES
from sparkowl.launchers import engines, fetching
from sparkowl.launchers.engines import EngineError
from sparkowl.launchers.fetching import FetchError, Source
from sparkowl.launchers.jars import Jars, Manifest

app = typer.Typer(no_args_is_help=True, help="Fetch jars of table formats and of S3.")

_LINE = "{:<12}  {:<9}  {:>9}  {}"
Engine = Annotated[
    str | None,
    typer.Option(help="Engine whose Spark they are for. Default: the server's own Spark."),
]


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help=f"What to fetch: {', '.join(NAMES)}.")],
    engine: Engine = None,
    repositories: Annotated[
        list[str] | None,
        typer.Option("--repository", help="Maven repository to ask first; may be repeated."),
    ] = None,
    ivy_settings: Annotated[
        Path | None, typer.Option(help="Ivy's settings file, instead of the one of the settings.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch the jars that fit the Spark, from a Maven repository, into the cache."""
    for name in names:
        if name not in NAMES:
            fail(f"There is nothing called {name} to fetch. Names: {', '.join(NAMES)}.", code=2)
    given = {"repositories": repositories, "ivy_settings": ivy_settings}
    chosen = settings(data_dir, jars={key: value for key, value in given.items() if value})
    asked = chosen.jars
    if asked.ivy_settings is not None and not asked.ivy_settings.is_file():
        fail(f"Setting jars.ivy_settings: there is no file {asked.ivy_settings}.", code=2)
    source = Source(
        python=_python(chosen, engine),
        java_home=chosen.driver.java_home,
        repositories=asked.repositories,
        ivy_settings=asked.ivy_settings,
    )
    try:
        build = fetching.build(source)
        for name in dict.fromkeys(names):
            err.print(f"Fetching {name} for Spark {build.spark}", markup=False)
            found = fetching.fetch(chosen.cache_dir, name, build, source)
            said = "fetched" if found.new else "there already"
            print(f"{name}: {said}, {_megabytes(found.manifest.size)} in {found.place}")
    except FetchError as error:
        fail(str(error))


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """List the jars that sessions find: the operator's own, and what was fetched."""
    chosen = settings(data_dir)
    jars = Jars(cache_dir=chosen.cache_dir, folder=chosen.jars.folder)
    print(_LINE.format("NAME", "SPARK", "SIZE", "WHAT"))
    for name in NAMES:
        own = jars.own(name)
        if own:
            size = sum(jar.stat().st_size for jar in own)
            print(_LINE.format(name, "any", _megabytes(size), f"{own[0].parent} (your own)"))
    for place in sorted((chosen.cache_dir / "jars").glob("[0-9]*/*/")):
        manifest = Manifest.read(place)
        if place.name in NAMES and manifest is not None:
            broken = jars.damaged(place, manifest)
            what = f"damaged: {broken[0]}" if broken else " ".join(manifest.coordinates[:1])
            size_text = _megabytes(manifest.size)
            print(_LINE.format(place.name, place.parent.name, size_text, what))


def _python(chosen: Settings, engine: str | None) -> str:
    """The interpreter of the environment that runs an engine; ours unless it has one."""
    if engine is None:
        return sys.executable
    if engine not in SPARK_ENGINES:
        fail(f'There is no engine "{engine}". Engines: {", ".join(sorted(SPARK_ENGINES))}.')
    section = next((s for given, s in chosen.engines.items() if given == engine), None)
    if section is not None and section.python is not None:
        return str(section.python.expanduser().absolute())
    try:
        found = {made.name: made.python for made in engines.registered(chosen.data_dir)}
    except EngineError as error:
        fail(str(error))
    return found.get(engine, sys.executable)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"

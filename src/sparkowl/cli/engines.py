"""``sparkowl engines``: the Python environments that run the engines.

It works on the data directory itself, as whoever owns it. A server that runs goes on with what it
found at its start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.config import Settings
from sparkowl.domain.engine import SPARK_ENGINES
from sparkowl.launchers import engines, environments
from sparkowl.launchers.engines import EngineError
from sparkowl.launchers.installing import Wanted
from sparkowl.relay.endpoint import running_url

app = typer.Typer(no_args_is_help=True, help="Say which Spark runs an engine.")

_LINE = "{:<26}  {:<8}  {}"
Engine = Annotated[str, typer.Argument(help='Name of the engine: "Apache Spark version 3.5".')]


@app.command()
def add(
    engine: Engine,
    pyspark: Annotated[
        str | None, typer.Option(help="Version of PySpark to install with pip, such as 3.5.8.")
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(
            help="Python of an environment that has PySpark; with --pyspark, the Python to make "
            "the environment with."
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make or link an environment for an engine, check it, and register it."""
    chosen = _settings(data_dir, engine)
    wanted = Wanted(
        name=engine,
        pyspark=pyspark,
        python=None if python is None else _absolute(python),
        java_home=chosen.driver.java_home,
    )
    try:
        made = environments.add(chosen.data_dir, wanted, lambda step: err.print(step, markup=False))
    except EngineError as error:
        fail(str(error))
    print(f"{engine} runs Spark {made.spark_version} on Java {made.java}")
    _afterwards(chosen)


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """List what runs the engines."""
    chosen = settings(data_dir)
    try:
        found = {made.name: made for made in engines.registered(chosen.data_dir)}
    except EngineError as error:
        fail(str(error))
    print(_LINE.format("ENGINE", "SPARK", "PYTHON"))
    for name in sorted(SPARK_ENGINES):
        section = next((s for given, s in chosen.engines.items() if given == name), None)
        if section is not None and section.python is not None:
            print(_LINE.format(name, "", f"{section.python} (settings)"))
        elif name in found:
            made = found[name]
            print(_LINE.format(name, made.spark_version, made.source or made.python))
        else:
            print(_LINE.format(name, "", "the server's own"))


@app.command()
def remove(engine: Engine, data_dir: DataDir = None) -> None:
    """Forget an engine's environment: the engine runs in the server's own again."""
    chosen = _settings(data_dir, engine)
    try:
        environments.remove(chosen.data_dir, engine)
    except EngineError as error:
        fail(str(error))
    print(f"{engine} runs in the server's own environment")
    _afterwards(chosen)


def _settings(data_dir: Path | None, engine: str) -> Settings:
    if engine not in SPARK_ENGINES:
        fail(f'There is no engine "{engine}". Engines: {", ".join(sorted(SPARK_ENGINES))}.')
    return settings(data_dir)


def _absolute(python: Path) -> Path:
    """Not resolved: the link in a virtual environment's ``bin`` is what makes it one."""
    return python.expanduser().absolute()


def _afterwards(chosen: Settings) -> None:
    if running_url(chosen.data_dir) is None:
        environments.clear_unused(chosen.data_dir)
    else:
        err.print("The server that runs takes it at its next start.", markup=False)

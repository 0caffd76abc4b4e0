"""``sparkowl serve``."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from sparkowl import app, telemetry
from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.config import Settings


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front terminates TLS.")
    ] = False,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Leave sessions running at the end.")
    ] = False,
    launcher: Annotated[
        str | None, typer.Option(help="local, or fake: no Spark, for work on the API.")
    ] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    chosen = settings(
        data_dir,
        host=host,
        port=port,
        behind_proxy=behind_proxy or None,
        keep_sessions=keep_sessions or None,
        launcher=launcher,
    )
    telemetry.configure(chosen.log_level, as_json=chosen.log_json)
    try:
        uvloop.run(_serve(chosen))
    except app.StartError as error:
        fail(str(error))


async def _serve(chosen: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await app.serve(chosen, stop, lambda running: _welcome(running, chosen.data_dir))


def _welcome(running: app.Running, data_dir: Path) -> None:
    """One line that others can wait for, then help for people."""
    print(f"SparkOwl is ready at {running.url}", flush=True)
    err.print(f'In another terminal: eval "$(sparkowl env --data-dir {data_dir})"', markup=False)

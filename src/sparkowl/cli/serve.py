"""``sparkowl serve``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparkowl import telemetry
from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.config import Settings

if TYPE_CHECKING:
    from sparkowl.app import Running


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
    # Imported here: the server's half a second of imports is not for the other commands.
    import uvloop

    from sparkowl import app

    # What the server writes is its own: a data directory that others may enter stays private.
    os.umask(0o077)
    telemetry.configure(chosen.log_level, as_json=chosen.log_json)
    try:
        uvloop.run(_serve(chosen, app.serve))
    except app.StartError as error:
        fail(str(error))


async def _serve(chosen: Settings, run: Callable[..., Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(chosen, stop, lambda running: _welcome(running, chosen.data_dir))


def _welcome(running: Running, data_dir: Path) -> None:
    """One line that others can wait for, then help for people."""
    print(f"SparkOwl is ready at {running.url}", flush=True)
    err.print(f'In another terminal: eval "$(sparkowl env --data-dir {data_dir})"', markup=False)

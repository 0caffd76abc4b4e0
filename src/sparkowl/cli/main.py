"""The command's entry, and what becomes of errors that no command expects."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from sparkowl import __version__
from sparkowl.cli import (
    backup,
    clients,
    doctor,
    engines,
    jars,
    kernel,
    keys,
    notebooks,
    packages,
    run,
    serve,
    sessions,
    usage,
)
from sparkowl.cli.options import DataDir, err

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Amazon Athena's API for Apache Spark, self-hosted.",
)
cli.command()(serve.serve)
cli.command()(run.run)
cli.add_typer(sessions.app, name="sessions")
cli.add_typer(notebooks.app, name="notebooks")
cli.add_typer(engines.app, name="engines")
cli.add_typer(packages.app, name="packages")
cli.add_typer(jars.app, name="jars")
cli.command()(usage.usage)
cli.add_typer(keys.app, name="keys")
cli.add_typer(kernel.app, name="kernel")
cli.command()(doctor.doctor)
cli.command()(backup.backup)
cli.command()(backup.restore)


@cli.command()
def env(data_dir: DataDir = None) -> None:
    """Print export lines that point AWS clients at the server: eval "$(sparkowl env)"."""
    exports = clients.exports(data_dir)
    print(f"unset {' '.join(clients.IN_THE_WAY)}")
    for name, value in exports.items():
        print(f"export {name}={value}")


@cli.callback(invoke_without_command=True)
def common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command; an error is a sentence and an exit status, not a traceback."""
    try:
        cli()
    except ClientError as error:
        err.print(str(error.response["Error"]["Message"]), markup=False, style="red")
        sys.exit(1)
    except BotoCoreError as error:
        err.print(f"The server cannot be reached: {error}", markup=False, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(run.INTERRUPTED)

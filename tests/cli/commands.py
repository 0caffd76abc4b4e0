"""The command, as a process or within this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from sparkowl.cli.main import cli

SPARKOWL = str(Path(sys.executable).with_name("sparkowl"))
Done = subprocess.CompletedProcess[str]


def sparkowl(*arguments: str, given: str = "", environment: dict[str, str] | None = None) -> Done:
    """What a process of the command does."""
    return subprocess.run(
        [SPARKOWL, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not _ours(k)} | (environment or {}),
    )


def command(*arguments: str, given: str = "", environment: dict[str, str] | None = None) -> Done:
    """The same without a process, whose start takes most of a second.

    For commands that are no clients: what they refuse, they say themselves.
    """
    without: dict[str, str | None] = {name: None for name in os.environ if _ours(name)}
    before = os.umask(0)
    os.umask(before)
    try:
        done = CliRunner().invoke(
            cli,
            list(arguments),
            input=given,
            env={**without, **(environment or {})},
            catch_exceptions=False,
        )
    finally:
        os.umask(before)
    return Done(list(arguments), done.exit_code, done.stdout, done.stderr)


def _ours(variable: str) -> bool:
    return variable.startswith(("AWS_", "SPARKOWL_"))

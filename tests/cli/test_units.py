"""The systemd units that are shipped: what they start exists, and a stop leaves drivers alone."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from sparkowl.cli.main import cli

UNITS = sorted((Path(__file__).parents[2] / "packaging" / "systemd").glob("*.service"))
DEFAULT_STOP_GRACE_S = 5


def parsed(unit: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    found.read_string(unit.read_text())
    return found


def test_both_units_are_there() -> None:
    assert [unit.name for unit in UNITS] == ["sparkowl-user.service", "sparkowl.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_a_unit_starts_is_a_command_with_these_options(unit: Path) -> None:
    program, command, *arguments = parsed(unit)["Service"]["ExecStart"].split()
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]
    options = {name for parameter in commands[command].params for name in parameter.opts}

    given = [argument for argument in arguments if argument.startswith("--")]

    assert Path(program).name == "sparkowl"
    assert set(given) <= options
    assert "--keep-sessions" in given


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_stop_of_a_unit_ends_the_server_alone(unit: Path) -> None:
    service = parsed(unit)["Service"]

    assert service["KillMode"] == "process"
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > DEFAULT_STOP_GRACE_S
    assert service.get("PrivateTmp", "no") == "no"
    assert "MemoryDenyWriteExecute" not in service


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_every_line_of_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    started = parsed(unit)["Service"]["ExecStart"].split()[0]
    here.write_text(unit.read_text().replace(started, "/bin/true"))

    checked = subprocess.run(
        ["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")

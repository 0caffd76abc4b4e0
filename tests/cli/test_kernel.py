"""``sparkowl kernel``: what it writes, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import command


def spec(prefix: Path, name: str = "sparkowl") -> Any:
    return json.loads((prefix / "share/jupyter/kernels" / name / "kernel.json").read_text())


def test_install_writes_a_kernelspec_that_starts_sessions(tmp_path: Path) -> None:
    done = command(
        *("kernel", "install", "--prefix", str(tmp_path), "--work-group", "etl"),
        *("--endpoint-url", "https://spark.example.com", "--profile", "team"),
        *("--idle-minutes", "30", "--max-dpus", "8"),
        *("--property", "spark.a=1", "--property", "spark.b=x=y"),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"Installed kernel sparkowl in {tmp_path}/share/jupyter/kernels/sparkowl\n"
    )
    assert spec(tmp_path) == {
        "argv": [
            *(sys.executable, "-P", "-m", "sparkowl.relay", "-f", "{connection_file}"),
            *("--name=sparkowl", "--work-group=etl", "--max-dpus=8", "--idle-minutes=30"),
            *("--endpoint-url=https://spark.example.com", "--profile=team"),
            *("--property=spark.a=1", "--property=spark.b=x=y"),
        ],
        "display_name": "SparkOwl (etl)",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
    }


def test_no_secret_is_in_a_kernelspec(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAOWL", "AWS_SECRET_ACCESS_KEY": "hush"}
    command("kernel", "install", "--prefix", str(tmp_path), environment=keys)

    written = json.dumps(spec(tmp_path))
    assert "AKIAOWL" not in written
    assert "hush" not in written


def test_without_a_prefix_it_goes_to_the_users_own_folder(tmp_path: Path) -> None:
    own = {"JUPYTER_DATA_DIR": str(tmp_path)}
    installed = command("kernel", "install", "--name", "owl", environment=own)
    listed = command("kernel", "list", environment=own)
    removed = command("kernel", "remove", "--name", "owl", environment=own)

    folder = tmp_path / "kernels" / "owl"
    assert installed.stdout == f"Installed kernel owl in {folder}\n"
    assert listed.stdout.split() == ["owl", "SparkOwl", "(spark)", str(folder)]
    assert removed.stdout == f"Removed {folder}\n"
    assert not folder.exists()
    assert command("kernel", "list", environment=own).stdout == ""


def test_a_second_install_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for title in ("One", "Two"):
        done = command("kernel", "install", "--prefix", str(tmp_path), "--display-name", title)
        assert done.returncode == 0

    assert spec(tmp_path)["display_name"] == "Two"


@pytest.mark.parametrize("verb", ["install", "remove"])
@pytest.mark.parametrize("name", ["python3", "Python3"])
def test_a_kernelspec_of_somebody_else_is_left_alone(tmp_path: Path, verb: str, name: str) -> None:
    folder = tmp_path / "share/jupyter/kernels/python3"
    folder.mkdir(parents=True)
    theirs = {"argv": ["python", "-m", "ipykernel"], "display_name": "Python", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(theirs))

    done = command("kernel", verb, "--name", name, "--prefix", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == f"Kernelspec python3 at {folder} is not one of SparkOwl's.\n"
    assert spec(tmp_path, "python3") == theirs


def test_a_name_with_capitals_is_installed_and_removed_as_jupyter_has_it(tmp_path: Path) -> None:
    installed = command("kernel", "install", "--name", "Owl", "--prefix", str(tmp_path))
    removed = command("kernel", "remove", "--name", "Owl", "--prefix", str(tmp_path))

    folder = tmp_path / "share/jupyter/kernels/owl"
    assert installed.stdout == f"Installed kernel owl in {folder}\n"
    assert (removed.stdout, removed.stderr) == (f"Removed {folder}\n", "")


def test_remove_of_none_says_so(tmp_path: Path) -> None:
    done = command("kernel", "remove", "--prefix", str(tmp_path))

    assert (done.returncode, done.stderr) == (1, "There is no kernelspec sparkowl.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "no spaces"], "Invalid kernel name 'no spaces'"),
        (["--property", "spark.a"], "--property: 'spark.a' is not name=value."),
        (["--idle-minutes", "0"], "'--idle-minutes'"),
        (["--user", "--sys-prefix"], "Only one of --user, --sys-prefix and --prefix."),
        (["--data-dir", "/srv", "--profile", "team"], "Either --data-dir, or --endpoint-url and"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: list[str], words: str) -> None:
    own = {"JUPYTER_DATA_DIR": str(tmp_path)}
    done = command("kernel", "install", *arguments, environment=own)

    assert done.returncode != 0
    assert words in done.stderr
    assert not (tmp_path / "kernels").exists()

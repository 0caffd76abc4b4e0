"""``sparkowl engines`` on a data directory without a server."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cli.commands import command

PLAIN = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"


def test_list_says_what_runs_each_engine(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(
        "[engines.'PySpark engine version 3']\npython = '/opt/bin/python'\n"
    )

    found = command("engines", "list", "--data-dir", str(tmp_path))

    assert [line.split(maxsplit=4) for line in found.stdout.splitlines()[1:]] == [
        ["Apache", "Spark", "version", "3.5", "the server's own"],
        ["Apache", "Spark", "version", "4.1", "the server's own"],
        ["PySpark", "engine", "version", "3", "/opt/bin/python (settings)"],
    ]


def test_an_engine_that_there_is_not_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    for asked in (
        ("add", "Spark 3", "--pyspark", "3.5.8"),
        ("remove", "Athena engine version 3"),
    ):
        found = command("engines", *asked, "--data-dir", str(tmp_path))

        assert found.returncode == 1
        assert found.stderr == (
            f'There is no engine "{asked[1]}". Engines: Apache Spark version 3.5, '
            "Apache Spark version 4.1, PySpark engine version 3.\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_add_says_what_is_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    name = "Apache Spark version 4.1"

    found = command("engines", "add", name, "--python", str(PLAIN), "--data-dir", str(tmp_path))
    listed = command("engines", "list", "--data-dir", str(tmp_path))

    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.endswith("The pyspark package is not installed in this environment.\n")
    assert listed.stdout.count("the server's own") == 3


def test_remove_of_what_is_not_registered_is_an_error(tmp_path: Path) -> None:
    name = "Apache Spark version 4.1"

    found = command("engines", "remove", name, "--data-dir", str(tmp_path))

    assert (found.returncode, found.stderr) == (1, f'No environment is registered for "{name}".\n')

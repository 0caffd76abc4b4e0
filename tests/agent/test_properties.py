"""What Spark says of its properties, and the files that were made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparkowl.agent import jvm
from sparkowl.agent.properties import Property, text
from sparkowl.domain.sparks import Known
from sparkowl.launchers import engines

FILES = Path(engines.__file__).parent / "spark"


def test_a_list_is_written_as_it_is_read() -> None:
    written = text(
        "4.1.4",
        [
            Property("spark.b", "run-time", follows="spark.a"),
            Property("spark.a", "launch", aliases=("spark.older", "spark.old")),
        ],
    )

    assert written == (
        "# The properties of Apache Spark 4.1.4, as it says itself.\n"
        "spark.a launch =spark.old =spark.older\n"
        "spark.b run-time <spark.a\n"
    )
    assert Known.parse(written).aliases == {"spark.old": "spark.a", "spark.older": "spark.a"}


def test_every_file_is_of_the_version_it_is_named_after_and_sorted() -> None:
    assert {file.name for file in FILES.iterdir()} == {
        f"{version}.properties" for version in engines.LOOKED_AT
    }
    for version, known in zip(engines.LOOKED_AT, engines.looked_at(), strict=True):
        lines = (FILES / f"{version}.properties").read_text().splitlines()[1:]
        assert known.spark_version == version
        assert lines == sorted(lines, key=lambda line: line.split()[0])
        assert len({line.split()[0] for line in lines}) == len(lines)


@pytest.mark.spark
def test_the_file_of_the_installed_spark_is_what_that_spark_says(tmp_path: Path) -> None:
    """Stale? ``python -m sparkowl.agent.properties`` writes it; look at what is new in it, say in
    ``property_rules`` what a session may set, and name the version in ``engines.LOOKED_AT``."""
    version = jvm.spark_version(jvm.spark_home())

    said = subprocess.run(
        [sys.executable, "-m", "sparkowl.agent.properties"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout

    assert version == engines.LOOKED_AT[-1]
    assert said == (FILES / f"{version}.properties").read_text()


@pytest.mark.spark
def test_a_java_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "sparkowl.agent.properties"],
        input=f'{{"java_home": "{tmp_path}"}}',
        capture_output=True,
        text=True,
        check=False,
    )

    assert (asked.returncode, asked.stdout) == (1, "")
    assert "is no Java" in asked.stderr

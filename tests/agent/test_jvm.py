"""The JVM's command line and its files, as pure functions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.agent import jvm
from sparkowl.agent.driver import important_line
from sparkowl.agent.java import Java
from sparkowl.agent.messages import DriverSpec

JAVA = Java(home=Path("/opt/java"), version="21.0.8")


def line(home: Path, **changes: object) -> list[str]:
    values: dict[str, object] = {
        "home": home,
        "heap": "2g",
        "temporary": Path("/run/tmp"),
        "properties_file": Path("/run/conf/spark.properties"),
    }
    return jvm.command_line(JAVA, **(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "jars").mkdir()
    for name in ("b.jar", "a.jar", "spark-core_2.13-4.1.4.jar", "notes.txt"):
        (tmp_path / "jars" / name).touch()
    return tmp_path


def test_the_command_line(home: Path) -> None:
    given_line = line(home)
    assert given_line[0] == "/opt/java/bin/java"
    assert "-Xmx2g" in given_line
    jars = [str(home / "jars" / name) for name in ("a.jar", "b.jar", "spark-core_2.13-4.1.4.jar")]
    assert given_line[-5:] == [
        ":".join(jars),
        "org.apache.spark.deploy.SparkSubmit",
        "--properties-file",
        "/run/conf/spark.properties",
        "pyspark-shell",
    ]


def test_an_archive_is_asked_for_only_when_there_is_one(home: Path) -> None:
    assert not [flag for flag in line(home) if "Share" in flag]
    asked = line(home, archive=Path("/cache/x.jsa"))
    assert {"-XX:SharedArchiveFile=/cache/x.jsa", "-Xshare:auto"} <= set(asked)


def test_further_jars_come_after_sparks_own(home: Path) -> None:
    # An archive fits a class path that begins with its own.
    plain = line(home)[-5]
    assert line(home, extra_class_path=["/x/y.jar", "/z.jar"])[-5] == f"{plain}:/x/y.jar:/z.jar"


def test_the_version_is_read_from_the_jar(home: Path) -> None:
    assert jvm.spark_version(home) == "4.1.4"


def test_the_archives_name_follows_java_spark_and_their_files(home: Path) -> None:
    first = jvm.archive_file(Path("/cache"), JAVA, home)
    assert first == jvm.archive_file(Path("/cache"), JAVA, home)
    other_java = Java(home=JAVA.home, version="21.0.9")
    assert jvm.archive_file(Path("/cache"), other_java, home) != first
    (home / "jars" / "a.jar").write_text("changed")
    assert jvm.archive_file(Path("/cache"), JAVA, home) != first


def read_properties(text: str) -> dict[str, str]:
    """As java.util.Properties reads what :func:`jvm.properties_text` writes."""
    found = {}
    for entry in text.splitlines():
        key, value = entry.split("=", 1)
        found[_unescape(key)] = _unescape(value)
    return found


def _unescape(text: str) -> str:
    # JSON's \uXXXX is Java's, surrogate pairs included.
    unescaped: str = json.loads(f'"{text}"')
    return unescaped


@given(st.dictionaries(st.text(), st.text()))
def test_any_property_survives_its_file(properties: dict[str, str]) -> None:
    text = jvm.properties_text(properties)
    assert text.isascii()
    assert read_properties(text) == properties


@given(st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1)))
def test_any_java_option_survives_its_file(options: list[str]) -> None:
    text = jvm.arguments_text(shlex.join(options))
    unquoted = [
        entry[1:-1].replace('\\"', '"').replace("\\\\", "\\") for entry in text.split("\n") if entry
    ]
    assert unquoted == options


def test_the_specs_properties_win_and_real_s3_is_left_alone() -> None:
    spec = DriverSpec(
        driver_id="d",
        token="t",
        run_dir="/run",
        cache_dir="/cache",
        java_home=None,
        heap="1g",
        properties={
            "spark.master": "local[3]",
            "spark.hadoop.fs.s3a.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        },
        buckets={"lake": "/data/lake"},
        warm=False,
        output_limit_bytes=1,
        away_idle_s=1,
        away_busy_s=1,
        confinement=None,
    )
    properties = jvm.launch_properties(spec, "4.1.4")
    assert properties["spark.master"] == "local[3]"
    assert properties["spark.driver.bindAddress"] == "127.0.0.1"
    assert properties["spark.hadoop.fs.s3a.impl"].endswith("S3AFileSystem")
    assert "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3a" not in properties
    assert properties["spark.hadoop.fs.s3.impl"].endswith("ViewFileSystemOverloadScheme")


def test_children_inherit_nothing_but_what_they_need(tmp_path: Path) -> None:
    from sparkowl.agent.folder import Folder

    given_here = {"PATH": "/bin", "LANG": "C", "SPARKOWL_DRIVER": "d", "AWS_SECRET_ACCESS_KEY": "x"}
    found = jvm.environment(Folder(tmp_path), Path("/spark"), given_here)
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert (found["SPARKOWL_DRIVER"], found["HOME"]) == ("d", str(tmp_path / "work"))


@pytest.mark.parametrize(
    ("log", "hint"),
    [
        ("", ""),
        (
            "Invalid maximum heap size: -Xmx1x\n"
            "Error: Could not create the Java Virtual Machine.\n"
            "Error: A fatal exception has occurred. Program will exit.\n",
            "Invalid maximum heap size: -Xmx1x",
        ),
        (
            'WARN x\nException in thread "main" java.lang.Error: outer\n\tat a.b(C.java:1)\n'
            "Caused by: java.io.IOException: inner\n\tat a.b(C.java:1)\n\t... 3 more\n",
            "java.io.IOException: inner",
        ),
        ("INFO a\nINFO the last word\n", "INFO the last word"),
    ],
)
def test_the_important_line_of_a_log(log: str, hint: str) -> None:
    assert important_line(log) == hint


def test_the_gateways_file_is_absent_until_it_is_complete(tmp_path: Path) -> None:
    assert jvm.gateway(tmp_path / "gateway") is None
    (tmp_path / "gateway").write_bytes(b"\0\0\x1f\x90\0\0\0\x03abc")
    assert jvm.gateway(tmp_path / "gateway") == (8080, "abc")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "An error occurred.\n: java.lang.A: outer\n\tat b\nCaused by: c.D: why",
            "c.D: why",
        ),
        ("An error occurred.\n: java.lang.A: why\n\tat b", "java.lang.A: why"),
        ("An error.\n: A: why\n\tSuppressed: B\n\tCaused by: c.D: another", "A: why"),
        ("Answer from Java side is empty", "Answer from Java side is empty"),
        ("", "OSError"),
    ],
    ids=["its last cause", "its own words", "not a suppressed one's", "py4j's", "none"],
)
def test_what_java_said_is_found(error: str, said: str) -> None:
    assert jvm.message_of(OSError(error) if error else OSError()) == said

"""Where jars are found, whether they are whole, and fetching as far as no repository is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sparkowl.domain.coordinates import Build
from sparkowl.domain.service import Service
from sparkowl.launchers import fetching, s3a
from sparkowl.launchers.fetching import FetchError, Source
from sparkowl.launchers.jars import MANIFEST, Jars, JarsMissing, Manifest, own_spark, sha256

SPARK = Build(spark="4.1.4", scala="2.13", hadoop="3.4.2")


def shelf(folder: Path, name: str = "iceberg", spark: str = "") -> Path:
    """What a fetch leaves."""
    place = folder / "jars" / (spark or own_spark()) / name
    place.mkdir(parents=True)
    for file in ("b.jar", "a.jar"):
        (place / file).write_text(file)
    sums = {file: sha256(place / file) for file in ("b.jar", "a.jar")}
    Manifest(coordinates=(f"g:{name}:1",), sha256=sums, size=10).write(place)
    return place


def test_what_was_fetched_is_on_the_class_path_in_order(tmp_path: Path) -> None:
    place = shelf(tmp_path)

    found = Jars(cache_dir=tmp_path).class_path(["iceberg"], None)

    assert found == (str(place / "a.jar"), str(place / "b.jar"))


def test_what_is_for_every_driver_comes_first_and_once(tmp_path: Path) -> None:
    shelf(tmp_path, "s3a")
    shelf(tmp_path, "delta")
    jars = Jars(cache_dir=tmp_path, always=("s3a",))

    names = [Path(jar).parent.name for jar in jars.class_path(["delta", "s3a"], None)]

    assert names == ["s3a", "s3a", "delta", "delta"]
    assert len(jars.class_path((), None)) == 2


def test_an_engine_with_a_spark_of_its_own_has_jars_of_its_own(tmp_path: Path) -> None:
    shelf(tmp_path)
    other = shelf(tmp_path, spark="3.5.8")
    engine = "Apache Spark version 3.5"
    jars = Jars(cache_dir=tmp_path, sparks={engine: "3.5.8"})

    assert jars.class_path(["iceberg"], engine)[0] == str(other / "a.jar")
    with pytest.raises(JarsMissing, match=r"jars fetch delta --engine"):
        jars.class_path(["delta"], engine)


def test_what_is_missing_is_said_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(JarsMissing) as caught:
        Jars(cache_dir=tmp_path).class_path(["iceberg"], None)

    assert str(caught.value) == (
        "Iceberg's jars, which are not there: run: sparkowl jars fetch iceberg"
    )


def test_what_cannot_be_fetched_for_the_spark_is_said_without_a_command(tmp_path: Path) -> None:
    engine = "Apache Spark version 3.5"
    jars = Jars(cache_dir=tmp_path, sparks={engine: "3.5.8"})

    with pytest.raises(JarsMissing) as caught:
        jars.class_path(["hudi"], "Apache Spark version 4.1")

    assert str(caught.value) == (
        "Hudi's jars, but there are no hudi jars for Spark 4.1, only for 3.5"
    )
    with pytest.raises(JarsMissing, match="run: sparkowl jars fetch hudi --engine"):
        jars.class_path(["hudi"], engine)


def test_a_manifest_without_all_of_its_files_is_nothing(tmp_path: Path) -> None:
    place = shelf(tmp_path)
    (place / "a.jar").unlink()
    with pytest.raises(JarsMissing, match=r"a\.jar is not as it was fetched"):
        Jars(cache_dir=tmp_path).class_path(["iceberg"], None)
    (place / MANIFEST).write_text("{")
    with pytest.raises(JarsMissing, match="are not there"):
        Jars(cache_dir=tmp_path).class_path(["iceberg"], None)


def test_a_file_that_changed_is_not_taken_also_when_it_was_whole_before(tmp_path: Path) -> None:
    place = shelf(tmp_path)
    jars = Jars(cache_dir=tmp_path)
    jars.class_path(["iceberg"], None)

    (place / "b.jar").write_text("something else")

    with pytest.raises(JarsMissing, match=r"b\.jar is not as it was fetched"):
        jars.class_path(["iceberg"], None)


def test_the_operators_own_folder_wins_and_needs_no_manifest(tmp_path: Path) -> None:
    shelf(tmp_path)
    own = tmp_path / "own" / "iceberg"
    own.mkdir(parents=True)
    (own / "mine.jar").touch()

    jars = Jars(cache_dir=tmp_path, folder=tmp_path / "own")

    assert jars.class_path(["iceberg"], None) == (str(own / "mine.jar"),)


# --- fetching ------------------------------------------------------------------------------------


def agent(folder: Path, does: str) -> str:
    """An interpreter whose agent does this with what it is asked (``asked``)."""
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\nasked = json.loads(sys.stdin.read())\n"
        f"{does}\n"
    )
    program.chmod(0o755)
    return str(program)


GIVES = """
jars = pathlib.Path(asked["folder"]) / "jars"
jars.mkdir()
(jars / "g_a-1.jar").write_text("content")
print("{}")
"""


def test_a_fetch_appears_whole_and_is_made_once(tmp_path: Path) -> None:
    source = Source(python=agent(tmp_path, GIVES))

    first = fetching.fetch(tmp_path, "iceberg", SPARK, source)
    again = fetching.fetch(tmp_path, "iceberg", SPARK, Source(python="/nobody/asks/again"))

    assert (first.new, again.new) == (True, False)
    assert again.manifest == first.manifest
    assert sorted(file.name for file in first.place.iterdir()) == ["g_a-1.jar", MANIFEST]
    assert first.manifest.coordinates == (
        "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",
    )
    assert Jars(cache_dir=tmp_path, sparks={"x": "4.1.4"}).class_path(["iceberg"], "x") == (
        str(first.place / "g_a-1.jar"),
    )


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ('print(json.dumps({"error": "g#a;1: not found"}))', "g#a;1: not found"),
        ("sys.exit(3)", "cannot be asked"),
        ('print("{}")', "gave no jars"),
        (GIVES.replace('print("{}")', "sys.exit(9)"), "cannot be asked"),
    ],
)
def test_a_fetch_that_fails_leaves_what_was_there(tmp_path: Path, does: str, says: str) -> None:
    place = shelf(tmp_path, spark="4.1.4")  # of other coordinates, so it would be replaced
    before = {file.name: file.read_bytes() for file in place.iterdir()}

    with pytest.raises(FetchError, match=says):
        fetching.fetch(tmp_path, "iceberg", SPARK, Source(python=agent(tmp_path, does)))

    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert {file.name for file in place.parent.iterdir()} == {"iceberg", ".iceberg.lock"}


def test_a_damaged_fetch_and_what_a_killed_one_left_are_replaced(tmp_path: Path) -> None:
    source = Source(python=agent(tmp_path, GIVES))
    place = fetching.fetch(tmp_path, "iceberg", SPARK, source).place
    (place / "g_a-1.jar").write_text("damaged")
    (place.parent / ".iceberg-left").mkdir()

    fetched = fetching.fetch(tmp_path, "iceberg", SPARK, source)

    assert fetched.new
    assert (place / "g_a-1.jar").read_text() == "content"
    assert not (place.parent / ".iceberg-left").exists()


def test_what_was_chosen_reaches_the_agent(tmp_path: Path) -> None:
    told = GIVES + "(jars / 'asked.jar').write_text(json.dumps(asked))"
    source = Source(
        python=agent(tmp_path, told),
        java_home="/java",
        repositories=("https://repository.example/maven",),
        ivy_settings=Path("/ivy.xml"),
    )

    place = fetching.fetch(tmp_path, "delta", SPARK, source).place

    asked = json.loads((place / "asked.jar").read_text())
    assert asked["packages"] == ["io.delta:delta-spark_4.1_2.13:4.4.0"]
    assert asked["compiled"] == ["FolderLogStore.scala"]
    assert asked["repositories"] == ["https://repository.example/maven"]
    assert (asked["java_home"], asked["ivy_settings"]) == ("/java", "/ivy.xml")


# --- S3 ------------------------------------------------------------------------------------------


def test_s3a_reads_the_sessions_keys_from_its_profile_and_nowhere_else() -> None:
    service = Service(endpoint="http://127.0.0.1:8333", region="eu-west-1", path_style=True)

    found = s3a.spark_properties(service, "4.1.4")

    assert found["spark.hadoop.fs.s3a.aws.credentials.provider"] == (
        "software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider"
    )
    assert found["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:8333"
    assert found["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert found["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert not [key for key in found if "access.key" in key or "secret" in key]


def test_for_aws_itself_no_endpoint_is_named() -> None:
    service = Service(endpoint=None, region="eu-west-1", path_style=False)

    found = s3a.spark_properties(service, "3.5.8")

    assert "spark.hadoop.fs.s3a.endpoint" not in found
    assert found["spark.hadoop.fs.s3a.path.style.access"] == "false"
    assert found["spark.hadoop.fs.s3a.aws.credentials.provider"].startswith("com.amazonaws.")

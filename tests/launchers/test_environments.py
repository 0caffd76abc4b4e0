"""Registering environments, up to where Spark itself is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from sparkowl.domain.engine import SPARK_3, SPARK_3_5, SPARK_4_1, SPARK_ENGINES
from sparkowl.domain.sparks import OWN
from sparkowl.launchers import engines, environments, installing
from sparkowl.launchers.engines import EngineError, Environment
from sparkowl.launchers.installing import Wanted

ROOT = Path(__file__).parents[2]
#: An interpreter without PySpark.
PLAIN = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"


def interpreter(folder: Path, version: str) -> Path:
    """A Python that knows nothing but its version."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho {version.replace('.', ' ')}\n")
    program.chmod(0o755)
    return program


def register(data_dir: Path, name: str) -> Environment:
    """What a registration leaves, without a Spark in it."""
    folder = engines.folder_of(data_dir, name)
    root = folder / "3.5.8-00000000"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    spark = Path(engines.__file__).parent / "spark" / "3.5.8.properties"
    (root / "spark.properties").write_text(spark.read_text())
    made = Environment(
        name=name,
        python=str(root / "bin" / "python"),
        source=None,
        spark_version="3.5.8",
        java="17.0.15 (/java)",
        properties=str(root / "spark.properties"),
    )
    engines.write(folder, made)
    return made


def folders(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "engines").glob("*/*") if path.is_dir())


def wanted(**changes: object) -> Wanted:
    base = Wanted(name=SPARK_3_5, pyspark="3.5.8", python=None)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_every_engine_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = {engines.slug(name) for name in SPARK_ENGINES}

    assert len(names) == len(SPARK_ENGINES)
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in names)


@pytest.mark.parametrize(
    "version", ["3.5", "latest", "3.5.8 --index-url x", "-r x", "3.5.8\n", "3.5.\uff18", ""]
)
def test_what_is_no_version_never_reaches_pip(tmp_path: Path, version: str) -> None:
    with pytest.raises(EngineError, match=r"is no version of PySpark, such as 3\.5\.8"):
        environments.add(tmp_path, wanted(pyspark=version))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["2.4.8", "3.4.4", "4.9.0", "5.0.0"])
def test_a_spark_that_the_agent_does_not_know_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(EngineError, match=r"agent runs with Spark 3\.5 and 4\.1, not with"):
        environments.add(tmp_path, wanted(pyspark=version))


def test_a_python_that_is_too_new_for_the_spark_is_refused(tmp_path: Path) -> None:
    new = interpreter(tmp_path, "3.13")

    with pytest.raises(EngineError) as error:
        environments.add(tmp_path / "data", wanted(python=new))

    assert str(error.value) == (
        "Spark 3.5 runs on Python up to 3.11, and this is 3.13. "
        "Give an older one as well: --python /path/to/python3.11"
    )


def test_a_python_that_is_too_old_for_the_agent_is_refused(tmp_path: Path) -> None:
    old = interpreter(tmp_path, "3.9")

    with pytest.raises(EngineError, match=r"needs Python 3\.11 or newer; this is 3\.9"):
        environments.add(tmp_path / "data", wanted(python=old))


def test_without_a_spark_there_is_nothing_to_register(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Say which Spark"):
        environments.add(tmp_path, wanted(pyspark=None))


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"/nowhere/python cannot be run"):
        environments.add(tmp_path, wanted(pyspark=None, python=Path("/nowhere/python")))


def test_an_environment_without_spark_is_refused_and_leaves_what_was_there(tmp_path: Path) -> None:
    before = register(tmp_path, SPARK_3_5)

    with pytest.raises(EngineError, match="pyspark package is not installed"):
        environments.add(tmp_path, wanted(pyspark=None, python=PLAIN))

    assert engines.read(engines.folder_of(tmp_path, SPARK_3_5)) == before
    assert folders(tmp_path) == ["3.5.8-00000000"]


def test_a_first_registration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        environments.add(tmp_path, wanted(pyspark=None, python=PLAIN))

    assert [path.name for path in (tmp_path / "engines").iterdir()] == [".lock"]


def test_a_version_that_pip_does_not_find_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "index"
    empty.mkdir()
    add = (
        "import sys\nfrom pathlib import Path\nfrom sparkowl.launchers import environments as e\n"
        "try:\n    e.add(Path(sys.argv[1]), e.Wanted(name='Apache Spark version 3.5', "
        "pyspark='4.1.999', python=Path(sys.argv[2])))\n"
        "except e.EngineError as error:\n    print(error)\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", add, str(tmp_path / "data"), str(PLAIN)],
        # An index of its own, so that nobody is asked.
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(empty)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert said == "pip finds no pyspark[sql]==4.1.999 for this Python.\n"
    assert [path.name for path in (tmp_path / "data" / "engines").iterdir()] == [".lock"]


def test_two_commands_do_not_change_engines_at_once(tmp_path: Path) -> None:
    register(tmp_path, SPARK_3_5)

    with (
        environments.changing(tmp_path),
        pytest.raises(EngineError, match="Another command is changing the engines"),
    ):
        environments.remove(tmp_path, SPARK_3_5)

    environments.remove(tmp_path, SPARK_3_5)
    assert list(engines.registered(tmp_path)) == []


def test_to_remove_what_is_not_registered_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No environment is registered for"):
        environments.remove(tmp_path, SPARK_3)


def test_only_what_nothing_names_and_nobody_runs_is_cleared(tmp_path: Path) -> None:
    made = register(tmp_path, SPARK_3_5)
    abandoned, running = (made.folder.parent / name for name in ("3.5.7-dead", "3.5.7-runs"))
    for root in (abandoned, running):
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").symlink_to(sys.executable)
    program = [str(running / "bin" / "python"), "-c", "input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as driver:
        environments.clear_unused(tmp_path)
        during = folders(tmp_path)
        driver.communicate(b"\n")
    environments.clear_unused(tmp_path)

    assert during == ["3.5.7-runs", "3.5.8-00000000"]
    assert folders(tmp_path) == ["3.5.8-00000000"]


def test_nothing_is_cleared_while_an_environment_is_being_made(tmp_path: Path) -> None:
    made = register(tmp_path, SPARK_3_5)
    half = made.folder.parent / "3.5.9-half"
    half.mkdir()

    with environments.changing(tmp_path):
        environments.clear_unused(tmp_path)

    assert half.exists()


def test_names_without_an_environment_share_the_servers_own(tmp_path: Path) -> None:
    made = register(tmp_path, SPARK_3_5)

    found = engines.sparks({made.name: made})

    assert found.of(SPARK_3) == found.of(SPARK_4_1) == found.own
    assert found.own.environment == OWN
    assert found.own.known.spark_version == engines.LOOKED_AT[-1]
    assert found.of(SPARK_3_5).environment != OWN
    assert found.of(SPARK_3_5).known.spark_version == "3.5.8"


def test_a_registration_anew_is_another_environment(tmp_path: Path) -> None:
    first = register(tmp_path, SPARK_3_5)
    again = replace(first, python=first.python.replace("00000000", "00000001"))
    Path(again.python).parent.mkdir(parents=True)
    Path(again.python).symlink_to(sys.executable)

    one, other = (engines.sparks({SPARK_3_5: made}).of(SPARK_3_5) for made in (first, again))

    assert one.environment != other.environment


def test_an_environment_that_is_gone_is_named_with_what_to_do(tmp_path: Path) -> None:
    made = register(tmp_path, SPARK_3_5)
    Path(made.python).unlink()

    with pytest.raises(EngineError, match=r'engines remove "Apache Spark version 3\.5"'):
        engines.sparks({SPARK_3_5: made})


def test_what_the_agent_needs_is_asked_for_as_our_own_dependencies_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert set(installing.AGENT) <= set(project["dependencies"])


def test_a_registration_reads_as_json_that_people_can_read(tmp_path: Path) -> None:
    register(tmp_path, SPARK_3_5)
    file = engines.folder_of(tmp_path, SPARK_3_5) / "engine.json"

    assert json.loads(file.read_text())["name"] == SPARK_3_5
    file.write_text("{")
    with pytest.raises(EngineError, match=r"engine\.json is damaged"):
        list(engines.registered(tmp_path))


@pytest.mark.spark
@pytest.mark.timeout(300)
def test_an_interpreter_of_the_settings_is_checked_once_for_its_spark(tmp_path: Path) -> None:
    asked = Wanted(name=SPARK_4_1, pyspark=None, python=Path(sys.executable))

    said: list[str] = []
    first = environments.of_setting(tmp_path, asked, said.append)
    steps = list(said)
    again = environments.of_setting(tmp_path, asked, said.append)

    assert first == again
    assert steps == said
    assert again.spark_version == engines.LOOKED_AT[-1]
    assert again.source == sys.executable
    assert again.python != sys.executable
    # What the settings name is no registration.
    assert list(engines.registered(tmp_path)) == []
    (root,) = engines.of_setting(tmp_path, SPARK_4_1).glob("*/")
    packages = next(root.glob("lib/python3*/site-packages"))
    assert (packages / "sparkowl").readlink() == ROOT / "src" / "sparkowl"


@pytest.mark.spark
@pytest.mark.timeout(300)
def test_what_is_registered_anew_takes_the_place_of_what_was(tmp_path: Path) -> None:
    register(tmp_path, SPARK_4_1)

    made = environments.add(
        tmp_path, Wanted(name=SPARK_4_1, pyspark=None, python=Path(sys.executable))
    )
    environments.clear_unused(tmp_path)

    assert list(engines.registered(tmp_path)) == [made]
    assert folders(tmp_path) == [made.folder.name]

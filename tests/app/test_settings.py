"""Settings: where they come from, and that a wrong one stops the start.

The environment is read by a process of its own, so that no test changes this one's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sparkowl.config import Settings

_READ = """
import sys
from sparkowl.config import Settings
print(Settings().model_dump_json())
"""


def read(folder: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """The settings of a process with this environment; or what it said instead."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env=clean | {"SPARKOWL_DATA_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found, done.stderr


def test_every_source_is_read_and_the_nearer_one_wins(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(
        'port = 1111\nregion = "eu-west-1"\n[driver]\nheap = "2g"\ncores = 3\n'
    )

    found, _ = read(tmp_path, SPARKOWL_PORT="2222", SPARKOWL_DRIVER__HEAP="3g")

    assert (found["port"], found["region"]) == (2222, "eu-west-1")
    assert (found["driver"]["heap"], found["driver"]["cores"]) == ("3g", 3)
    assert found["data_dir"] == str(tmp_path)


def test_the_settings_file_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "other.toml"
    elsewhere.write_text("port = 3333\n")

    found, _ = read(tmp_path, SPARKOWL_CONFIG=str(elsewhere))

    assert found["port"] == 3333


def test_what_is_said_outright_wins_over_all(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("port = 1111\n")

    assert Settings(data_dir=tmp_path, port=4444).port == 4444


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "prot"),
        ("[driver]\nheep = '1g'", "driver.heep"),
        ("[drivers]\nheap = '1g'", "drivers"),
    ],
)
def test_a_key_that_does_not_exist_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "sparkowl.toml").write_text(text)

    with pytest.raises(ValidationError) as error:
        Settings(data_dir=tmp_path)

    [mistake] = error.value.errors()
    assert ".".join(str(part) for part in mistake["loc"]) == named
    assert mistake["type"] == "extra_forbidden"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port = 70000", "port"),
        ("port = -1", "port"),
        ("port = 'x'", "port"),
        ("region = 'EU WEST'", "region"),
        ("output_location = '/tmp/x'", "output_location"),
        ("launcher = 'kubernetes'", "launcher"),
        ("log_level = 'LOUD'", "log_level"),
        ("[driver]\nheap = 'much'", "driver.heap"),
        ("[driver]\nheap = '0g'", "driver.heap"),
        ("[driver]\nheap = '1g -agentlib:x'", "driver.heap"),
        ("[driver]\ncores = 0", "driver.cores"),
        ("[driver]\nstart_timeout_s = 0", "driver.start_timeout_s"),
        ("[driver]\nisolation = 'maybe'", "driver.isolation"),
        ("[pool]\nsize = -1", "pool.size"),
        ("[limits]\nsessions = 0", "limits.sessions"),
        ("[limits]\nrequest_body_bytes = 1", "limits.request_body_bytes"),
        ("[limits]\nqueue_length = 0", "limits.queue_length"),
        ("[workgroups.etl]\nsessions = 0", "workgroups.etl.sessions"),
        ("[rates.reads]\nper_s = -1\nburst = 1", "rates.reads.per_s"),
        ("[rates.operations.GetSession]\nper_s = 1", "rates.operations.GetSession.burst"),
        ("account = '1'", "account"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "sparkowl.toml").write_text(text)

    with pytest.raises(ValidationError) as error:
        Settings(data_dir=tmp_path)

    assert ".".join(str(part) for part in error.value.errors()[0]["loc"]) == named


def test_a_variable_that_names_no_setting_of_a_section_stops_the_start(tmp_path: Path) -> None:
    found, said = read(tmp_path, SPARKOWL_DRIVER__HEEP="2g")

    assert found == {}
    assert "heep" in said


def test_a_path_may_begin_with_the_home_folder() -> None:
    assert Settings(data_dir=Path("~/owl")).data_dir == Path.home() / "owl"

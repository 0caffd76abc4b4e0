"""Settings: where they come from, and that a wrong one stops the start.

The environment is read by a process of its own, so that no test changes this one's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from sparkowl.app import chosen
from sparkowl.app.errors import StartError
from sparkowl.config import EngineName, Settings
from sparkowl.config.drivers import DriverSection
from sparkowl.domain.engine import SPARK_ENGINES
from sparkowl.domain.policy import Effect

ROLE = "arn:aws:iam::000000000000:role/etl"
#: Variables that no role may set.
FIXED = (
    "PATH",
    "HOME",
    "TMPDIR",
    "BASH_ENV",
    "LD_PRELOAD",
    "ld_library_path",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYSPARK_PYTHON",
    "_PYSPARK_DRIVER_CONN_INFO_PATH",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "SPARK_HOME",
    "HADOOP_CONF_DIR",
    "SPARKOWL_DRIVER",
    "GLIBC_TUNABLES",
)

_READ = """
import sys
from sparkowl.config import Settings
print(Settings().model_dump_json())
"""

_BUDGET = "[workgroups.a.budget]\ndpu_hours = 1\n"


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


def test_a_settings_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    found, said = read(tmp_path, SPARKOWL_CONFIG=str(tmp_path / "other.toml"))

    assert found == {}
    assert said.endswith(f"SPARKOWL_CONFIG names {tmp_path}/other.toml, which is not a file.\n")


def test_a_settings_file_does_not_send_the_reader_to_another_one(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("config = '/etc/other.toml'\n")

    with pytest.raises(ValueError, match="cannot name another settings file"):
        Settings(data_dir=tmp_path)


def test_what_is_said_outright_wins_over_all(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("port = 1111\n")

    assert Settings(data_dir=tmp_path, port=4444).port == 4444


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "prot"),
        ("[driver]\nheep = '1g'", "driver.heep"),
        ("[drivers]\nheap = '1g'", "drivers"),
        ("[workgroups.a]\nbadget = 1", "workgroups.a.badget"),
        (f"{_BUDGET}hours = 1", "workgroups.a.budget.hours"),
        (
            "[engines.'Apache Spark version 3.5']\npyhton = 'x'",
            "engines.Apache Spark version 3.5.pyhton",
        ),
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
        ("[driver]\nmemory_limit_mb = -1", "driver.memory_limit_mb"),
        ("[driver]\nmemory_limit_mb = 'all'", "driver.memory_limit_mb"),
        ("[driver]\ncancel_timeout_s = 0", "driver.cancel_timeout_s"),
        ("[driver]\nheap = '1g -agentlib:x'", "driver.heap"),
        ("[driver]\ncores = 0", "driver.cores"),
        ("[driver]\nstart_timeout_s = 0", "driver.start_timeout_s"),
        ("[driver]\nisolation = 'maybe'", "driver.isolation"),
        ("[pool]\nsize = -1", "pool.size"),
        ("[packages]\nbuild_timeout_s = 0", "packages.build_timeout_s"),
        ("[workgroups.a]\nrequirements = 'a.txt'", "workgroups.a.requirements"),
        ("[notebooks]\ndownload_s = 0", "notebooks.download_s"),
        ("[notebooks]\ndownload_s = 121", "notebooks.download_s"),
        ("[notebooks]\ndownload_s = inf", "notebooks.download_s"),
        ("[notebooks]\ndownloads = 'some'", "notebooks.downloads"),
        ("[limits]\nsessions = 0", "limits.sessions"),
        ("[engines.'Apache Spark version 9']\n", "engines.Apache Spark version 9.[key]"),
        (
            "[engines.'Apache Spark version 3.5']\ncalculations = 'maybe'",
            "engines.Apache Spark version 3.5.calculations",
        ),
        ("[http]\nconnections = 1", "http.connections"),
        ("[http]\nhead_bytes = 100", "http.head_bytes"),
        ("[http]\nheaders = 1", "http.headers"),
        ("[http]\nhead_s = 0", "http.head_s"),
        ("[http]\nkeep_alive_s = 0", "http.keep_alive_s"),
        ("[http]\nstall_s = -1", "http.stall_s"),
        ("[http]\nleast_bytes_per_s = -1", "http.least_bytes_per_s"),
        ("[http]\npace_s = 0", "http.pace_s"),
        ("[http]\nkeep_alive_s = inf", "http.keep_alive_s"),
        ("[http]\nbodies_bytes = 1", "http.bodies_bytes"),
        ("[http]\nbodies_bytes = 16777215", "http"),
        ("[limits]\nrequest_body_bytes = 1000000000", "http"),
        ("[limits]\nrequest_body_bytes = 1", "limits.request_body_bytes"),
        ("[limits]\nqueue_length = 0", "limits.queue_length"),
        ("[workgroups.etl]\nsessions = 0", "workgroups.etl.sessions"),
        ("[rates.reads]\nper_s = -1\nburst = 1", "rates.reads.per_s"),
        ("[rates.operations.GetSession]\nper_s = 1", "rates.operations.GetSession.burst"),
        ("account = '1'", "account"),
        ("[objects]\nkind = 'gcs'", "objects.kind"),
        ("[objects]\nendpoint = 'http://127.0.0.1:1'", "objects"),
        ("[objects]\nkind = 's3'\nencrypted_disk = true", "objects"),
        ("[objects]\nencrypted_disk = 'maybe'", "objects.encrypted_disk"),
        ("[objects]\nkind = 's3'\nendpoint = '127.0.0.1:8333'", "objects.endpoint"),
        ("[objects]\nkind = 's3'\nendpoint = 'http://127.0.0.1/path'", "objects.endpoint"),
        ("[objects]\nkind = 's3'\nendpoint = 'http://key:secret@127.0.0.1'", "objects.endpoint"),
        ("[objects]\nkind = 's3'\nendpoint = 'http://127.0.0.1?a'", "objects.endpoint"),
        ("[objects]\nkind = 's3'\nsts_endpoint = 'http://127.0.0.1#a'", "objects.sts_endpoint"),
        ("[objects]\nkind = 's3'\nregion = 'EU WEST'", "objects.region"),
        ("[objects]\nkind = 's3'\npath_style = 'maybe'", "objects.path_style"),
        ("[objects]\nkind = 's3'\nassume_roles = 'maybe'", "objects.assume_roles"),
        ("[objects]\nkind = 's3'\nsts_endpoint = 'sts.example.com'", "objects.sts_endpoint"),
        ("[objects]\nkind = 's3'\naccess_key_id = 'AKIA'", "objects"),
        ("[objects]\nkind = 's3'\nsession_secret_access_key = 'x'", "objects"),
        ("[objects]\nkind = 's3'\nupload_for_s = 0", "objects.upload_for_s"),
        ("[objects]\nkind = 's3'\nunsent_days = -1", "objects.unsent_days"),
        ("[objects]\nkind = 's3'\nunsent_mb = 0", "objects.unsent_mb"),
        ("[catalog]\nkind = 'derby'", "catalog.kind"),
        ("[catalog]\nheap = 'much'", "catalog.heap"),
        ("[jars]\nrepositories = ['ftp://there']", "jars.repositories.0"),
        ("[jars]\nfolder = 1", "jars.folder"),
        ("[store]\nlease_s = 0", "store.lease_s"),
        ("[store]\nlease_s = 'soon'", "store.lease_s"),
        ("[store]\nurl = 'mysql://user@host/db'", "store.url"),
        ("[store]\nurl = 'sqlite:///x.db'", "store.url"),
        ("[store]\nurl = 'host=x dbname=y'", "store.url"),
        ("[store]\nurl = 5", "store.url"),
        ("[workgroups.a.budget]\nperiod = 'day'", "workgroups.a.budget.dpu_hours"),
        ("[workgroups.a.budget]\ndpu_hours = 0", "workgroups.a.budget.dpu_hours"),
        (f"{_BUDGET}period = 'week'", "workgroups.a.budget.period"),
        (f"{_BUDGET}warn_at = 0", "workgroups.a.budget.warn_at"),
        (f"{_BUDGET}warn_at = 1.1", "workgroups.a.budget"),
        (f"{_BUDGET}stop_at = 0.9", "workgroups.a.budget"),
        ("[notebooks]\nurl = 'spark.example.com'", "notebooks.url"),
        ("[notebooks]\nurl = 'https://spark.example.com/path'", "notebooks.url"),
        ('[notebooks]\nurl = "https://a\'; script-src *"', "notebooks.url"),
        ("[notebooks]\nurl = 'https://user@host'", "notebooks.url"),
        ("[driver]\nuser = ''", "driver.user"),
        ("[roles.etl]\nuser = 'etl'", "roles"),
        ("[roles.'arn:aws:iam::1:role/etl']\nuser = 'etl'", "roles"),
        *(
            (f"[roles.'{ROLE}']\n{text}", f"roles.{ROLE}.{named}")
            for text, named in (
                ("user = ''", "user"),
                ("name = 'etl'", "name"),
                *((f"environment = {{ {name} = 'x' }}", "environment") for name in FIXED),
                ("environment = { 'A B' = 'x' }", "environment"),
                ("environment = { 'A=B' = 'x' }", "environment"),
                ('environment = { A = "x\\u0000y" }', "environment"),
                ("spark_properties = { 'sparkx' = '1' }", "spark_properties"),
                ("spark_properties = { 'fs.s3a.key' = '1' }", "spark_properties"),
                ("spark_properties = { ' spark.a' = '1' }", "spark_properties"),
                ("spark_properties = { \"spark.a\\nb\" = '1' }", "spark_properties"),
                ("spark_properties = { 'spark.authenticate' = 'false' }", "spark_properties"),
                ("buckets = ['../x']", "buckets"),
                ("buckets = ['lake/x']", "buckets"),
                ("buckets = 'lake'", "buckets"),
                ("policy = 1", "policy"),
                ("policy = ['s3:*']", "policy"),
            )
        ),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "sparkowl.toml").write_text(text)

    with pytest.raises(ValidationError) as error:
        Settings(data_dir=tmp_path)

    assert ".".join(str(part) for part in error.value.errors()[0]["loc"]) == named


def test_a_budget_is_a_section_of_its_workgroup(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(f"{_BUDGET}period = 'day'\nstop_at = 1.5\n")

    found = Settings(data_dir=tmp_path).workgroups["a"].budget

    assert found is not None
    assert (found.dpu_hours, found.period, found.stop_at) == (1.0, "day", 1.5)
    assert (found.warn_at, found.refuse_at) == (0.8, 1.0)


def test_a_role_is_mapped_by_its_arn(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(
        f"[roles.'{ROLE}']\nuser = 'etl'\nbuckets = ['lake', 'raw-*']\n"
        "environment = { AWS_REGION = 'eu-west-1' }\n"
        "spark_properties = { 'spark.hadoop.fs.s3a.endpoint' = 'https://example.org' }\n"
    )

    role = Settings(data_dir=tmp_path).roles[ROLE]

    assert (role.user, role.buckets) == ("etl", ("lake", "raw-*"))
    assert role.environment == {"AWS_REGION": "eu-west-1"}
    assert role.spark_properties == {"spark.hadoop.fs.s3a.endpoint": "https://example.org"}


_STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
_AS_TABLE = f"""[roles.'{ROLE}'.policy]
Version = 2012-10-17
[[roles.'{ROLE}'.policy.Statement]]
Effect = 'Allow'
Action = 's3:GetObject'
Resource = '*'
"""
_AS_TEXT = f"""[roles.'{ROLE}']
policy = '''{json.dumps({"Version": "2012-10-17", "Statement": _STATEMENT})}'''
"""


@pytest.mark.parametrize(
    "text", [_AS_TABLE, _AS_TABLE.replace("2012-10-17", "'2012-10-17'"), _AS_TEXT]
)
def test_a_roles_policy_is_a_table_or_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "sparkowl.toml").write_text(text)

    policy = chosen.roles(Settings(data_dir=tmp_path)).by_arn[ROLE].policy

    assert policy is not None
    assert policy.decide("s3:GetObject", "arn:aws:s3:::a/b") is Effect.ALLOW
    assert policy.decide("s3:PutObject", "arn:aws:s3:::a/b") is None


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("'{'", "is not JSON"),
        ("''", "is not JSON"),
        ("'[]'", "must be a JSON object"),
        ("{}", "Version: must be 2012-10-17"),
        ("{ Version = 2012-10-18 }", "Version: must be 2012-10-17"),
        ("{ Version = 2012-10-17T00:00:00 }", "is nothing that a policy can hold"),
        ("{ Version = 2012-10-17, Statement = [] }", "Statement: must be"),
        ("{ Version = 2012-10-17, Statement = { Effect = 'Alow' } }", "Statement.Effect: must be"),
    ],
)
@pytest.mark.parametrize("section", [f"roles.'{ROLE}'", "unmapped_role"])
def test_a_policy_that_breaks_a_rule_stops_the_start_and_is_named(
    tmp_path: Path, section: str, policy: str, why: str
) -> None:
    (tmp_path / "sparkowl.toml").write_text(f"[{section}]\npolicy = {policy}\n")

    with pytest.raises(StartError) as error:
        chosen.roles(Settings(data_dir=tmp_path))

    named = section.replace("'", "")
    assert str(error.value).startswith(f"Setting {named}.policy: ")
    assert why in str(error.value)


def test_what_a_role_sets_is_not_shown_when_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(
        f"[roles.'{ROLE}']\nenvironment = {{ TOKEN = 'a-secret', PATH = 'x' }}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "sparkowl", "doctor", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "PATH changes how programs are found" in done.stderr
    assert "a-secret" not in done.stderr


def test_a_variable_that_names_no_setting_of_a_section_stops_the_start(tmp_path: Path) -> None:
    found, said = read(tmp_path, SPARKOWL_DRIVER__HEEP="2g")

    assert found == {}
    assert "heep" in said


def test_the_engines_of_the_settings_are_those_that_run_spark(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text(
        "[engines.'Apache Spark version 3.5']\npython = '/opt/bin/python'\n"
    )

    settings = Settings(data_dir=tmp_path)

    assert set(get_args(EngineName)) == set(SPARK_ENGINES)
    section = settings.engines["Apache Spark version 3.5"]
    assert (section.python, section.calculations) == (Path("/opt/bin/python"), False)


def test_a_path_may_begin_with_the_home_folder() -> None:
    assert Settings(data_dir=Path("~/owl")).data_dir == Path.home() / "owl"


@pytest.mark.parametrize(
    ("section", "mib"),
    [({}, 3072), ({"heap": "512m"}, 2560), ({"heap": "2G"}, 4096), ({"heap": "1048576k"}, 3072),
     ({"heap": "8g", "memory_limit_mb": 700}, 700), ({"memory_limit_mb": 0}, 0)],
)  # fmt: skip
def test_a_drivers_memory_limit_follows_its_heap_unless_it_is_set(
    section: dict[str, Any], mib: int
) -> None:
    assert DriverSection(**section).memory_limit_bytes == mib << 20


def test_sessions_which_read_the_cache_do_not_read_the_data_directory_by_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValidationError, match="must not be the data directory"):
        Settings(data_dir=tmp_path, cache_dir=tmp_path / "x" / "..")

    Settings(data_dir=tmp_path, cache_dir=tmp_path / "cache")

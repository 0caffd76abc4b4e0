"""What AWS's tools in a session find, and that it follows the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.events import EventManager, available_events
from tests.agent.conftest import driver_spec, eventually

from sparkowl.agent import aws, confine
from sparkowl.agent.aws import Profile
from sparkowl.agent.folder import Folder, write_plain
from sparkowl.agent.messages import Adopt, Adopted, DriverSpec, RunAs

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

HERE = "http://127.0.0.1:8765"
TOLD = {"region": "eu-central-1", "addressing_style": "path", "endpoint_url": HERE}
KEYS = {"aws_access_key_id": "ASIAKEY", "aws_secret_access_key": "the-secret"}
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_ATHENA")
TOKEN = {"aws_session_token": "the-token"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def made(tmp_path: Path, **told: str) -> DriverSpec:
    spec = driver_spec(tmp_path, aws=told)
    Folder(Path(spec.run_dir)).make()
    return spec


@pytest.fixture
def spec(tmp_path: Path) -> DriverSpec:
    return made(tmp_path, **TOLD)


ASK = """
import boto3, json
session = boto3.session.Session()
keys, clients = session.get_credentials(), {n: session.client(n) for n in ('s3', 'athena', 'sts')}
link = keys and clients['s3'].generate_presigned_url('get_object', {'Bucket': 'b', 'Key': 'k'})
print(json.dumps({
    'keys': keys and list(keys.get_frozen_credentials())[:3],
    'region': session.region_name,
    'link': link and link.partition('?')[0],
    **{name: client.meta.endpoint_url for name, client in clients.items()},
}))
"""


def boto3_with(spec: DriverSpec, *without: str) -> Any:
    """What boto3 finds in a process with the variables of the kernel, but for some."""
    variables = {n: v for n, v in aws.environment(spec).items() if n not in without}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=variables | {"PATH": os.environ["PATH"], "HOME": spec.run_dir},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def config(spec: DriverSpec) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read_string(Folder(Path(spec.run_dir)).aws_config.read_text())
    return parser


# --- the files -----------------------------------------------------------------------------------


def test_boto3_finds_region_endpoint_and_keys(spec: DriverSpec) -> None:
    Profile(spec).give(KEYS | TOKEN)

    found = boto3_with(spec)

    assert found["keys"] == ["ASIAKEY", "the-secret", "the-token"]
    assert found["region"] == "eu-central-1"
    assert {found[service] for service in ("s3", "athena", "sts")} == {HERE}
    assert found["link"] == f"{HERE}/b/k"
    # The variables say nothing that the files do not.
    assert boto3_with(spec, *ENDPOINTS, "AWS_REGION", "AWS_DEFAULT_REGION") == found


def test_before_the_adoption_there_is_all_but_keys(spec: DriverSpec) -> None:
    Profile(spec).write()

    found = boto3_with(spec)

    assert (found["keys"], found["athena"]) == (None, HERE)


@pytest.mark.parametrize(
    ("s3", "expected"),
    [
        ("http://storage:9000", "http://storage:9000"),
        ("", "https://s3.eu-central-1.amazonaws.com"),
    ],
)
def test_where_s3_is_another_service_only_athena_is_the_servers(
    tmp_path: Path, s3: str, expected: str
) -> None:
    spec = made(tmp_path, **TOLD, endpoint_url_s3=s3)
    Profile(spec).give(KEYS)

    found = boto3_with(spec)

    assert (found["athena"], found["s3"]) == (HERE, expected)
    assert "amazonaws.com" in found["sts"]
    variables = aws.environment(spec)
    assert variables.get("AWS_ENDPOINT_URL_S3", "") == s3
    assert variables["AWS_ENDPOINT_URL_ATHENA"] == HERE
    assert "AWS_ENDPOINT_URL" not in variables
    bare = boto3_with(spec, *ENDPOINTS)
    assert (bare["athena"], bare["s3"]) == (HERE, expected)


def test_the_profile_follows_the_server(spec: DriverSpec) -> None:
    profile = Profile(spec)
    profile.give(KEYS)

    profile.follow("ws://127.0.0.1:9999\n")

    found = boto3_with(spec, *ENDPOINTS)
    assert {found["s3"], found["athena"]} == {"http://127.0.0.1:9999"}
    assert found["keys"][0] == "ASIAKEY"


def test_a_profile_that_cannot_be_written_is_tried_again_at_the_next_dial(
    spec: DriverSpec,
) -> None:
    profile, folder = Profile(spec), Folder(Path(spec.run_dir))
    profile.write()
    folder.aws.rename(folder.root / "away")

    profile.follow("ws://127.0.0.1:9999")
    (folder.root / "away").rename(folder.aws)
    assert config(spec)["default"]["endpoint_url"] == HERE
    profile.follow("ws://127.0.0.1:9999")

    assert config(spec)["default"]["endpoint_url"] == "http://127.0.0.1:9999"


def test_new_keys_that_cannot_be_written_end_no_session_and_are_written_later(
    spec: DriverSpec,
) -> None:
    """A block may have filled the disk just when its session's keys are renewed."""
    profile, folder = Profile(spec), Folder(Path(spec.run_dir))
    profile.give(KEYS)
    folder.aws_credentials.unlink()
    folder.aws_credentials.mkdir()  # in the way, as a full disk would be

    profile.renew(KEYS | TOKEN)
    profile.catch_up()

    assert {file.name for file in folder.aws.iterdir()} == {"credentials", "config"}
    folder.aws_credentials.rmdir()
    profile.catch_up()
    assert "the-token" in folder.aws_credentials.read_text()


def test_a_driver_that_was_told_nothing_has_files_and_no_endpoint(tmp_path: Path) -> None:
    spec = made(tmp_path)
    profile = Profile(spec)
    profile.follow("ws://127.0.0.1:9999")
    profile.give({})

    assert dict(config(spec)["default"]) == {}
    assert set(aws.environment(spec)) == {
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_EC2_METADATA_DISABLED",
    }


def test_only_their_owner_may_read_them(spec: DriverSpec) -> None:
    before = os.umask(0o007)
    try:
        Profile(spec).give(KEYS)
    finally:
        os.umask(before)

    folder = Folder(Path(spec.run_dir))
    for file in (folder.aws_credentials, folder.aws_config):
        assert file.stat().st_mode & 0o7777 == 0o600
    assert folder.aws.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in folder.aws.iterdir()} == {"credentials", "config"}


def test_new_keys_that_cannot_be_written_do_not_end_the_session(spec: DriverSpec) -> None:
    """As on a full disk: a server that is restarted repeats the keys of every session."""
    profile, folder = Profile(spec), Folder(Path(spec.run_dir))
    profile.give(KEYS)
    folder.aws.rename(folder.root / "away")

    profile.give(KEYS | {"aws_access_key_id": "ASIALATER"})

    (folder.root / "away").rename(folder.aws)
    profile.follow("ws://127.0.0.1:9999")
    assert "ASIALATER" in folder.aws_credentials.read_text()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "by a file").touch()

    with pytest.raises(OSError, match="taken"):
        write_plain(tmp_path / "taken", "text", None)

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_link_in_their_place_is_replaced_and_not_followed(
    spec: DriverSpec, tmp_path: Path
) -> None:
    folder, secret = Folder(Path(spec.run_dir)), tmp_path / "server.key"
    was = secret.read_text()
    folder.aws_credentials.symlink_to(secret)
    os.mkfifo(folder.aws_config)

    Profile(spec).give(KEYS)

    assert secret.read_text() == was
    assert not folder.aws_credentials.is_symlink()
    assert folder.aws_config.is_file()


@needs_root
def test_another_user_has_them_and_can_put_nothing_beside_them(spec: DriverSpec) -> None:
    nobody = RunAs(name="nobody", uid=65534, gid=65534, groups=())
    folder = Folder(Path(spec.run_dir))
    folder.give(nobody)

    Profile(replace(spec, run_as=nobody)).give(KEYS)

    assert folder.aws.stat().st_mode & 0o777 == 0o710
    assert (folder.aws.stat().st_uid, folder.aws.stat().st_gid) == (0, 65534)
    for file in (folder.aws_credentials, folder.aws_config):
        assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (65534, 0o600)


# --- the kernel's variables ----------------------------------------------------------------------


class Shell:
    """As much of IPython's as a hook needs."""

    def __init__(self) -> None:
        self.events = EventManager(self, available_events)

    def begin_block(self) -> None:
        self.events.trigger("pre_run_cell", None)


@pytest.mark.parametrize(
    ("value", "follows"), [(None, True), ("http://of.the.role", False), ("", False)]
)
def test_a_variable_of_the_kernel_follows_unless_somebody_set_it(
    spec: DriverSpec, value: str | None, *, follows: bool
) -> None:
    profile, shell = Profile(spec), Shell()
    profile.write()
    environ = aws.environment(spec)
    assert environ["AWS_ENDPOINT_URL_S3"] == HERE
    if value is not None:
        environ["AWS_ENDPOINT_URL_S3"] = value
    aws.keep_current(shell, environ)

    for port in ("9998", "9999"):
        profile.follow(f"ws://127.0.0.1:{port}")
        shell.begin_block()

        here = f"http://127.0.0.1:{port}"
        assert environ["AWS_ENDPOINT_URL_S3"] == (here if follows else value)
        assert environ["AWS_ENDPOINT_URL"] == here


@pytest.mark.parametrize("broken", [None, "", "[default", "\0", "[sparkowl]\nother = 1\n"])
def test_what_user_code_made_of_the_file_stops_no_block(
    spec: DriverSpec, broken: str | None
) -> None:
    profile, shell = Profile(spec), Shell()
    profile.write()
    environ = aws.environment(spec)
    aws.keep_current(shell, environ)
    file = Folder(Path(spec.run_dir)).aws_config

    file.unlink()
    if broken is not None:
        file.write_text(broken)
    shell.begin_block()
    assert environ["AWS_ENDPOINT_URL_S3"] == HERE

    profile.follow("ws://127.0.0.1:9999")
    shell.begin_block()
    assert environ["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9999"


# --- in a real driver ----------------------------------------------------------------------------


def adoption(**changes: Any) -> Adopt:
    values: dict[str, Any] = {
        "session_id": "s",
        "work_group": "spark",
        "engine_version": "Apache Spark version 4.1",
        "started_at": "2026-01-01T00:00:00+00:00",
        "properties": {},
        "buckets": {},
        "credentials": KEYS,
    }
    return Adopt(**(values | changes))


LOOK = """
import json, os, boto3
found = {n: v for n, v in os.environ.items() if n.startswith('AWS_')}
keys = boto3.session.Session().get_credentials()
athena = boto3.client('athena').meta.endpoint_url
print(json.dumps([found, keys and keys.access_key, athena]))
"""


@pytest.mark.spark
def test_a_block_finds_its_keys_and_where_the_server_is(start: Start) -> None:
    driver = start(aws=TOLD)
    driver.ready()
    driver.server.send(adoption())
    driver.server.first(Adopted)

    variables, key, athena = json.loads(driver.run(LOOK).stdout)
    port = _port(driver)
    assert (key, athena) == ("ASIAKEY", f"http://127.0.0.1:{port}")
    assert variables["AWS_ENDPOINT_URL_S3"] == variables["AWS_ENDPOINT_URL"] == athena
    assert "the-secret" not in str(variables)
    jvm = driver.run("print(sc._jvm.System.getenv('AWS_CONFIG_FILE'))").stdout.strip()
    assert jvm == variables["AWS_CONFIG_FILE"]
    worker = driver.run(
        "import os\nprint(sc.parallelize([0], 1).map(lambda _: "
        "open(os.environ['AWS_SHARED_CREDENTIALS_FILE']).read()).collect()[0])"
    ).stdout
    assert "ASIAKEY" in worker

    driver.server.close()
    driver.server.open()
    moved = f"http://127.0.0.1:{_port(driver)}"
    assert moved != athena
    file = Folder(driver.run_dir).aws_config
    eventually(lambda: moved in file.read_text())
    variables, key, athena = json.loads(driver.run(LOOK).stdout)
    assert (key, athena, variables["AWS_ENDPOINT_URL_S3"]) == ("ASIAKEY", moved, moved)


def _port(driver: Driver) -> str:
    return (driver.run_dir / "server-url").read_text().strip().rpartition(":")[2]


@pytest.mark.spark
@pytest.mark.skipif(confine.unavailable() is not None, reason="this kernel has no Landlock")
def test_user_code_can_read_its_profile_and_not_write_it(start: Start) -> None:
    driver = start(aws=TOLD)
    driver.ready()
    driver.server.send(adoption())
    driver.server.first(Adopted)

    tried = driver.run(
        "import os, pathlib\n"
        "file = pathlib.Path(os.environ['AWS_SHARED_CREDENTIALS_FILE'])\n"
        "print('ASIAKEY' in file.read_text())\n"
        "beside = file.with_name('x')\n"
        "for act in (lambda: file.write_text('x'), file.unlink, beside.touch,"
        " lambda: file.rename(beside), lambda: file.parent.rename('/tmp/x')):\n"
        "    try:\n        act()\n        print('done')\n"
        "    except OSError as error:\n        print(type(error).__name__)\n"
    )

    said = tried.stdout.split()
    assert said[0] == "True"
    assert "done" not in said
    assert len(said) == 6


@pytest.mark.spark
def test_what_the_role_sets_wins(start: Start) -> None:
    role = {"AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL_S3": "http://of.the.role", "AWS_X": "1"}
    driver = start(aws=TOLD, role=role)
    driver.ready()
    driver.server.send(adoption())
    driver.server.first(Adopted)

    variables, _, _ = json.loads(driver.run(LOOK).stdout)

    assert variables | role == variables
    assert variables["AWS_DEFAULT_REGION"] == "eu-central-1"

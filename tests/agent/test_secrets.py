"""What user code cannot see or do: from inside a real driver."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.proc import command_of, opened_by

from sparkowl.agent import confine
from sparkowl.agent.messages import Ended, Run

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(confine.unavailable() is not None, reason="this kernel has no Landlock"),
]

TRY = """
def attempt(act):
    try:
        return str(act())
    except OSError as error:
        return type(error).__name__
"""


def attempt(driver: Driver, expression: str) -> str:
    return driver.run(f"import os, signal, pathlib\n{TRY}\nattempt(lambda: {expression})").value


def test_the_environment_holds_nothing_of_the_server(start: Start) -> None:
    server = {"AWS_SECRET_ACCESS_KEY": "x", "AWS_PROFILE": "z", "SPARKOWL_DATABASE": "y"}
    driver = start(environment=server)
    driver.ready()
    seen = driver.run("import os, json\nprint(json.dumps(dict(os.environ)))")
    environment = json.loads(seen.stdout)
    assert not [name for name in environment if "SECRET" in name or "GATEWAY" in name]
    assert {name for name in environment if "AWS" in name} == {
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_EC2_METADATA_DISABLED",
    }
    ours = {name for name in environment if name.startswith("SPARKOWL")}
    assert ours <= {"SPARKOWL_DRIVER", "SPARKOWL_DRIVER_FOLDER"}
    assert environment["HOME"] == str(driver.run_dir / "work")
    assert driver.spec.token not in seen.stdout
    jvm = driver.run(
        "print(dict(sc._jvm.System.getenv()))\nprint(dict(sc._jvm.System.getProperties()))"
    )
    assert driver.spec.token not in jvm.stdout
    assert "AWS_SECRET" not in jvm.stdout
    assert "AWS_PROFILE" not in jvm.stdout


def test_no_secret_is_in_a_command_line(start: Start) -> None:
    secret = "a-password-of-the-user"
    driver = start(
        properties={
            "spark.master": "local[1]",
            "spark.hadoop.fs.s3a.secret.key": secret,
            "spark.driver.extraJavaOptions": f"-Dpassword={secret}",
        }
    )
    driver.ready()
    assert driver.run("sc.getConf().get('spark.hadoop.fs.s3a.secret.key')").value == repr(secret)
    assert driver.run("sc._jvm.System.getProperty('password')").value == repr(secret)
    for pid in driver.processes():
        command = command_of(pid)
        assert secret not in command
        assert driver.spec.token not in command


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("pathlib.Path('{base}/server.key').read_text()", "'PermissionError'"),
        ("os.listdir('{base}')", "'PermissionError'"),
        ("pathlib.Path('{run}/server-url').read_text()", "'PermissionError'"),
        ("pathlib.Path('{run}/server-url').write_text('x')", "'PermissionError'"),
        ("pathlib.Path('{run}/outbox/x').write_text('x')", "'PermissionError'"),
        ("pathlib.Path('/etc/sparkowl-test').write_text('x')", "'PermissionError'"),
        ("os.kill({agent}, signal.SIGTERM)", "'PermissionError'"),
        ("os.kill(os.getppid(), 0)", "'PermissionError'"),
        ("pathlib.Path('/proc/{agent}/environ').read_bytes()", "'PermissionError'"),
        ("open('/proc/{agent}/mem', 'rb').read(1)", "'PermissionError'"),
        ("pathlib.Path('here').write_text('x')", "'1'"),
        ("__import__('tempfile').TemporaryFile().write(b'x')", "'1'"),
        ("pathlib.Path('{base}/buckets/lake/x').write_text('x')", "'1'"),
        ("pathlib.Path('/dev/null').write_text('x')", "'1'"),
        ("len(os.listdir('/usr')) > 0", "'True'"),
    ],
)
def test_what_user_code_can_touch(driver: Driver, expression: str, result: str) -> None:
    filled = expression.format(base=driver.base, run=driver.run_dir, agent=driver.agent.pid)
    assert attempt(driver, filled) == result


def test_what_the_jvm_and_programs_can_read_is_the_same(driver: Driver) -> None:
    key = driver.base / "server.key"
    assert driver.run(f"import os\nos.system('cat {key}')").stdout != "the server's secret"
    done = driver.run(f"spark.read.text('file://{key}').show()")
    assert done.outcome == "failed"
    assert "the server's secret" not in done.stdout + done.stderr
    udf = (
        "from pyspark.sql.functions import udf\n"
        f"spark.range(1).select(udf(lambda _: open('{key}').read())('id')).show()"
    )
    assert "PermissionError" in driver.run(udf).stderr


def test_every_port_is_on_loopback(driver: Driver) -> None:
    inodes = set()
    for pid in driver.processes():
        inodes |= {str(what) for what in opened_by(pid)}
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].rsplit(":", 1)[0])
    assert listening
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(listening) <= loopback


#: User code that replaces its output folder, or the names in it, until it is told to end.
ATTACKS = {
    "the folder": """
moved = out.with_name('moved')
out.rename(moved)
out.symlink_to('{victim}')
print('planted', flush=True)
time.sleep(2.5)
""",
    "the names": """
until = time.monotonic() + 2.5
while time.monotonic() < until:
    names = {{*os.listdir(out), 'stdout', 'stderr', 'result.json', '.stdout.part',
              '.stderr.part', '.result.json.part'}}
    for name in names:
        try:
            os.symlink('{victim}/stdout', out / 'mine')
            os.rename(out / 'mine', out / name)
        except OSError:
            pass
print('planted', flush=True)
""",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("spooled", ["linked", "copied"])
def test_the_agent_writes_nothing_where_user_code_sends_it(
    start: Start, tmp_path: Path, attack: str, spooled: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("stdout", "stderr", "result.json"):
        (victim / name).write_text("mine")
    driver = start()
    bucket = driver.buckets / "lake"
    if spooled == "copied":
        bucket = Path("/dev/shm") / f"sparkowl-{driver.spec.driver_id}"
    driver.ready()
    out = bucket / "results" / "one"
    code = attack.format(victim=victim)
    block = f"import os, pathlib, time\nout = pathlib.Path('{out}')\n{code}"
    try:
        driver.server.send(Run(calculation_id="one", code=block, output_dir=str(out), buckets={}))
        ended = driver.server.first(Ended, calculation_id="one")
        planted = [p for p in out.parent.rglob("*") if p.is_symlink()]
    finally:
        if spooled == "copied":
            shutil.rmtree(bucket)
    assert (ended.outcome, ended.reason) == ("completed", "")
    assert planted or "names" in attack
    assert {p.name: p.read_text() for p in victim.iterdir()} == dict.fromkeys(
        ("stdout", "stderr", "result.json"), "mine"
    )
    assert driver.run("1 + 1").value == "2"

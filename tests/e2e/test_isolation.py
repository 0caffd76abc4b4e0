"""What a session can do to the server, to another session, and to buckets that it may not see.

Each attempt is made from inside a real session, in three worlds: with Landlock and one POSIX user
for all, with a user of its own and no Landlock, and with both.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from botocore.exceptions import ClientError
from tests import archives
from tests.e2e.conftest import GONE, User, processes_of, running, wait_for
from tests.e2e.isolation import (
    ATTACKER_USER,
    ELSEWHERE,
    GROUP,
    MODES,
    SECRET,
    TRY,
    World,
    new_session,
    open_folder,
    open_python,
    why_not,
    world,
)
from tests.folders import modes_in
from tests.proc import opened_by

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

REFUSED = {"PermissionError"}
#: A link cannot be made for the want of a right, or because Landlock lets no file change folders.
NO_LINK = {"PermissionError", "OSError"}


@pytest.fixture(scope="module", params=MODES)
def here(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as made:
        yield made


# --- files ---------------------------------------------------------------------------------------

#: Opens, lists and lets a shell read whatever it is given; says what it got at.
REACH = """
import json, os, subprocess
reached = []
for path in json.loads({paths!r}):
    for prefix in ('', '/proc/self/root'):
        for mode in ('rb', 'r+b'):
            try:
                os.close(os.open(prefix + path, os.O_RDONLY if mode == 'rb' else os.O_RDWR))
                reached.append((mode, path))
            except OSError:
                pass
        try:
            os.listdir(prefix + path)
            reached.append(('list', path))
        except OSError:
            pass
read = subprocess.run(['cat', *json.loads({paths!r})], capture_output=True).stdout
print(json.dumps([reached, len(read)]))
"""


#: What a session may open of its driver's folder. Who has only the fence of a user may change the
#: profile of its own session as well.
OWN: Final = ("work", "tmp", "warehouse", "kernel", "conf", "aws")


def test_nothing_of_the_server_or_of_another_session_can_be_opened(here: World) -> None:
    own = [here.attacker.run_dir / name for name in OWN]
    theirs = [
        path
        for path, mode in modes_in(here.server.data_dir).items()
        if not any(path.is_relative_to(folder) for folder in (here.buckets, *own))
        and not stat.S_ISSOCK(mode)
    ]
    theirs += [here.server.data_dir.parent / name for name in ELSEWHERE]
    names = {path.name for path in theirs}
    assert {"sparkowl.db", "sparkowl.db-wal", "credentials.json", "staging", "outbox"} <= names
    assert {"secret.txt", "connection.json", "gateway", "spark.properties", "server-url"} <= names

    stdout, stderr = here.attacker.run(REACH.format(paths=json.dumps([str(p) for p in theirs])))

    assert (json.loads(stdout), stderr) == ([[], 0], "")


@pytest.mark.parametrize("place", ["credentials.json", "drivers/{victim}/work/secret.txt"])
def test_nor_by_spark_nor_by_what_spark_runs(here: World, place: str) -> None:
    file = here.server.data_dir / place.format(victim=here.victim.run_dir.name)

    by_spark = here.attacker.run(f"spark.read.text('file://{file}').show(truncate=False)")
    by_udf = here.attacker.run(
        "from pyspark.sql.functions import udf\n"
        f"spark.range(1).select(udf(lambda _: open('{file}').read())('id')).show(truncate=False)"
    )
    by_java = here.attacker.run(
        f"print(sc._jvm.java.util.Scanner(sc._jvm.java.io.File('{file}')).nextLine())"
    )

    for stdout, stderr in (by_spark, by_udf, by_java):
        assert stdout == ""
        # A folder that cannot be entered looks to Spark as if nothing were there.
        assert "ermission denied" in stderr or "PATH_NOT_FOUND" in stderr, stderr
        assert SECRET not in stderr


def test_no_descriptor_of_the_server_is_inherited(here: World) -> None:
    own = here.attacker.run_dir
    for part in ("kernel", "jvm"):
        pid = here.attacker.pid(part)
        inside = [t for t in opened_by(pid) if t.is_relative_to(here.server.data_dir)]
        assert [t for t in inside if not t.is_relative_to(own)] == []


# --- buckets -------------------------------------------------------------------------------------


#: Without Landlock a role with buckets stops the start (tests/app/test_start.py).
LANDLOCKED = [mode for mode, (landlock, _) in MODES.items() if landlock]


@pytest.mark.parametrize("here", LANDLOCKED, indirect=True)
def test_a_bucket_that_the_role_may_not_see_cannot_be_reached(here: World) -> None:
    path = here.buckets / "vault" / "secret.txt"

    seen = [
        here.attacker.run("spark.read.text('s3://vault/secret.txt').show(truncate=False)"),
        here.attacker.run(f"spark.read.text('file://{path}').show(truncate=False)"),
        here.attacker.run("spark.range(1).write.csv('s3://vault/mine')"),
        here.attacker.run(f"print(open('{path}').read())"),
        here.attacker.run(f"import subprocess\nprint(subprocess.getoutput('cat {path}'))"),
        here.attacker.run(
            "from pyspark.sql.functions import udf\n"
            f"read = udf(lambda _: open('{path}').read())\n"
            "spark.range(1).select(read('id')).show(truncate=False)"
        ),
        here.attacker.run(
            # What a mount would have been, made by hand.
            f"conf = sc._jsc.hadoopConfiguration()\n"
            f"conf.set('fs.viewfs.mounttable.vault.linkFallback', 'sparkowl-folder://{path.parent}')\n"
            "spark.read.text('s3a://vault/secret.txt').show(truncate=False)"
        ),
    ]

    assert not [both for both in seen if SECRET in both[0] + both[1]]
    assert here.victim.run("spark.read.text('s3://vault/secret.txt').show(truncate=False)")[0]


def test_links_planted_in_a_bucket_lead_nowhere(here: World) -> None:
    lake, data = here.buckets / "lake", here.server.data_dir
    targets = [data / "credentials.json", here.victim.run_dir / "work" / "secret.txt"]
    if here.landlock:
        targets.append(here.buckets / "vault" / "secret.txt")
    for number, target in enumerate(targets):
        soft, hard = lake / f"soft-{number}", lake / f"hard-{number}"
        assert here.attacker.attempt(f"os.symlink('{target}', '{soft}')") == "None"
        assert here.attacker.attempt(f"os.link('{target}', '{hard}')") in NO_LINK
        assert here.attacker.attempt(f"open('{soft}').read()") in REFUSED
        stdout, stderr = here.attacker.run(f"spark.read.text('s3://lake/{soft.name}').show()")
        assert SECRET not in stdout + stderr
        assert "secret_access_key" not in stdout + stderr
        with pytest.raises(ClientError, match="NoSuchKey"):
            here.attacker.user.s3.get_object(Bucket="lake", Key=soft.name)


def test_a_file_of_the_machine_cannot_be_linked_to_where_the_door_would_read_it(
    here: World,
) -> None:
    own = here.attacker.run_dir / "work" / "plain"
    hard = here.buckets / "lake" / "shadow"
    assert here.attacker.attempt(f"os.link('/etc/shadow', '{hard}')") in NO_LINK
    assert here.attacker.attempt(f"os.link('/etc/shadow', '{own}')") in NO_LINK


def test_what_the_door_writes_a_session_reads_and_replaces_and_the_other_way_round(
    here: World,
) -> None:
    s3, session = here.attacker.user.s3, here.attacker
    s3.put_object(Bucket="lake", Key="deep/er/door.csv", Body=b"1\n2\n")
    path = here.buckets / "lake" / "deep" / "er"

    assert session.run("print(spark.read.csv('s3://lake/deep/er/door.csv').count())")[0] == "2\n"
    code = (
        f"import os, pathlib\np = pathlib.Path('{path}')\n"
        "for name in 'door.csv', 'new.csv':\n    _ = (p / name).write_text('3\\n')\n"
        "os.replace(p / 'new.csv', p / 'moved.csv')\n"
        "spark.range(3).write.mode('overwrite').csv('s3://lake/deep/er/table')"
    )
    assert session.run(code) == ("", "")
    assert s3.get_object(Bucket="lake", Key="deep/er/door.csv")["Body"].read() == b"3\n"
    assert s3.get_object(Bucket="lake", Key="deep/er/moved.csv")["Body"].read() == b"3\n"
    s3.put_object(Bucket="lake", Key="deep/er/table/more.csv", Body=b"9\n")
    read = "print(spark.read.csv('s3://lake/deep/er/table').count())"
    assert session.run(read)[0] == "4\n"
    # Another session of another user reads and replaces both, too.
    assert here.victim.run(read)[0] == "4\n"
    again = "spark.range(1).write.mode('overwrite').csv('s3://lake/deep/er/table')"
    assert here.victim.run(again) == ("", "")
    assert session.run(again) == ("", "")
    s3.delete_object(Bucket="lake", Key="deep/er/moved.csv")
    assert not (path / "moved.csv").exists()


# --- processes -----------------------------------------------------------------------------------

#: Every process that is not the attacker's own, by how the test calls it.
TARGETS = ["the victim's agent", "the victim's kernel", "the victim's jvm", "own agent", "server"]


def pid_of(here: World, target: str) -> int:
    if target == "server":
        return here.server.process.pid
    if target == "own agent":
        return here.attacker.pid("agent")
    return here.victim.pid(target.removeprefix("the victim's "))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_of_another_process_can_be_read(here: World, target: str) -> None:
    pid = pid_of(here, target)
    code = f"""
got = {{}}
for name in ('environ', 'mem', 'maps', 'auxv', 'io', 'stack', 'syscall'):
    got[name] = attempt(lambda: open('/proc/{pid}/' + name, 'rb').read(1))
for name in ('cwd', 'root', 'exe'):
    got[name] = attempt(lambda: os.readlink('/proc/{pid}/' + name))
    got[name + '/'] = attempt(lambda: os.listdir('/proc/{pid}/' + name + '/'))
for name in ('fd/0', 'fd/1', 'fd/2', 'task/{pid}/fd/1'):
    got[name] = attempt(lambda: os.readlink('/proc/{pid}/' + name))
    got[name + ' opened'] = attempt(lambda: os.open('/proc/{pid}/' + name, os.O_RDONLY))
got['map_files'] = attempt(lambda: os.listdir('/proc/{pid}/map_files'))
print(sorted(got.items()))
"""
    stdout, stderr = here.attacker.run(TRY + code)
    got = dict(eval(stdout))
    assert stderr == ""
    assert {name: seen for name, seen in got.items() if seen not in REFUSED} == {}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("number", ["0", "signal.SIGSTOP", "signal.SIGKILL", "signal.SIGQUIT"])
def test_no_other_process_can_be_signalled(here: World, target: str, number: str) -> None:
    pid = pid_of(here, target)
    assert here.attacker.attempt(f"os.kill({pid}, {number})") in REFUSED
    assert here.attacker.attempt(f"signal.pidfd_send_signal(os.pidfd_open({pid}), {number})") in (
        REFUSED
    )


#: System calls of x86_64 that reach into a process, which is `pid`.
REACHING = {
    "ptrace attach": "call(101, 16, {pid}, 0, 0)",
    "ptrace seize": "call(101, 0x4206, {pid}, 0, 0)",
    "process_vm_readv": "call(310, {pid}, v, 1, v, 1, 0)",
    "process_vm_writev": "call(311, {pid}, v, 1, v, 1, 0)",
    "pidfd_getfd": "call(438, os.pidfd_open({pid}), 1, 0)",
    "kcmp": "call(312, {pid}, {pid}, 2, 0, 0)",
    "setpriority": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
    "setpriority of its group": "os.setpriority(os.PRIO_PGRP, {pid}, 19)",
    "setpriority of its user": "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "setpriority of the own user": "os.setpriority(os.PRIO_USER, 0, 19)",
    "sched_setaffinity": "os.sched_setaffinity({pid}, {{0}})",
    "sched_setscheduler": "os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
    "sched_setparam": "os.sched_setparam({pid}, os.sched_param(0))",
    "sched_setattr": "call(314, {pid}, bytes(48), 0)",
    "prlimit": "__import__('resource').prlimit({pid}, 7, (1, 1))",
    "ioprio_set": "call(251, 1, {pid}, 3 << 13)",
    "ioprio_set of the own user": "call(251, 3, 0, 3 << 13)",
    "migrate_pages": "call(256, {pid}, 8, bytes(8), bytes(8))",
    "move_pages": "call(279, {pid}, 0, None, None, None, 0)",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
@pytest.mark.parametrize("target", ["the victim's kernel", "own agent", "server"])
@pytest.mark.parametrize("way", REACHING)
def test_no_call_reaches_into_another_process(here: World, target: str, way: str) -> None:
    expression = REACHING[way].format(pid=pid_of(here, target))
    # One struct iovec: eight bytes of the attacker's own.
    vector = "id(libc).to_bytes(8, 'little') + (8).to_bytes(8, 'little')"
    assert here.attacker.attempt(f"(lambda v: {expression})({vector})") in REFUSED


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
@pytest.mark.parametrize(
    ("what", "expression"),
    {
        "keyring": "call(250, 0, -3, 0)",
        "add_key": "call(248, b'user', b'x', b'x', 1, -4)",
        "io_uring": "call(425, 1, bytes(120))",
        "userfaultfd": "call(323, 0)",
        "bpf": "call(321, 0, bytes(128), 128)",
        "perf_event": "call(298, bytes(128), 0, -1, -1, 0)",
        "the same by x32's numbers": "call(0x40000000 | 250, 0, -3, 0)",
    }.items(),
)
def test_what_reaches_past_the_sandbox_is_refused(here: World, what: str, expression: str) -> None:
    assert here.attacker.attempt(expression) in REFUSED


@pytest.mark.parametrize(
    "expression",
    [
        "os.nice(0)",
        "os.setpriority(os.PRIO_PROCESS, 0, 1)",
        "os.sched_setaffinity(0, os.sched_getaffinity(0))",
        "__import__('resource').setrlimit(7, __import__('resource').getrlimit(7))",
        "os.kill(os.getpid(), 0)",
        "subprocess.Popen(['sleep', '9']).kill()",
        "os.link(Path('a').open('w').name, 'b') if Path('/proc/sys/fs/protected_hardlinks')"
        ".read_text().strip() == '1' else None",
        "len(os.listdir('/usr'))",
        "socket.create_server(('127.0.0.1', 0)).close()",
    ],
)
def test_what_a_session_does_to_itself_is_its_own(here: World, expression: str) -> None:
    assert "Error" not in here.attacker.attempt(expression)


def test_no_program_gives_a_session_more_rights(here: World) -> None:
    own = Path(f"/proc/{here.attacker.pid('kernel')}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in own.splitlines())
    assert fields["NoNewPrivs"] == "1"
    if MODES[here.mode][1]:
        assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert here.attacker.attempt("os.setuid(0)") in REFUSED
        assert here.attacker.attempt("os.setgroups([0])") in REFUSED


# --- ports and sockets ---------------------------------------------------------------------------

PY4J = """
from py4j.java_gateway import GatewayParameters, JavaGateway
def ask(port, token):
    given = GatewayParameters(port=port, auth_token=token, read_timeout=3)
    return JavaGateway(gateway_parameters=given).jvm.java.lang.System.getProperty('user.dir')
print([attempt(lambda: ask(port, token)) for port in {ports} for token in (None, '', 'x' * 64)])
"""


def test_the_gateways_of_another_session_answer_nobody_without_the_secret(here: World) -> None:
    ports = list(here.victim.ports())
    assert ports
    stdout, _ = here.attacker.run(TRY + PY4J.format(ports=ports))
    answers = eval(stdout)
    assert len(answers) == 3 * len(ports)
    assert all(answer.endswith("Error") for answer in answers), answers


#: A Spark of the attacker's, with another secret and with none, calls at every port.
SPARK_RPC = """
jvm = sc._jvm
conf = jvm.org.apache.spark.SparkConf(False)
conf.set('spark.rpc.askTimeout', '4s').set('spark.rpc.lookupTimeout', '4s')
conf.set('spark.network.timeout', '4s').set('spark.rpc.io.maxRetries', '0')
conf.set('spark.authenticate', '{authenticate}')
conf.set('spark.authenticate.secret', 'a-guess')
security = jvm.org.apache.spark.SecurityManager(conf, None, None)
env = jvm.org.apache.spark.rpc.RpcEnv.create('attacker', '127.0.0.1', 0, conf, security, True)
def reach(port, name):
    address = jvm.org.apache.spark.rpc.RpcAddress('127.0.0.1', port)
    return env.setupEndpointRef(address, name).toString()
print([attempt(lambda: reach(port, name)) for port in {ports}
       for name in ('BlockManagerMaster', 'CoarseGrainedScheduler', 'HeartbeatReceiver')])
env.shutdown()
def reach_own():
    own = jvm.org.apache.spark.SparkEnv.get()
    return own.rpcEnv().setupEndpointRef(own.rpcEnv().address(), 'BlockManagerMaster').toString()
print(attempt(reach_own))
"""


@pytest.mark.parametrize("authenticate", ["true", "false"])
def test_the_spark_of_another_session_answers_nobody_without_its_secret(
    here: World, authenticate: str
) -> None:
    jvm = here.victim.pid("jvm")
    ports = [port for port, owner in here.victim.ports().items() if owner == jvm]
    assert len(ports) >= 2
    stdout, stderr = here.attacker.run(
        TRY + SPARK_RPC.format(ports=ports, authenticate=authenticate)
    )
    lines = stdout.splitlines()
    assert set(eval(lines[0])) == {"Py4JJavaError"}, stdout + stderr
    # The same call works where the secret is known: it is the secret that is missing.
    assert "BlockManagerMaster" in lines[-1], stdout + stderr


LISTEN = """
import zmq
context = zmq.Context()
sockets = []
for number in range(1, 6):
    for kind in (zmq.SUB, zmq.DEALER):
        s = context.socket(kind)
        s.connect('ipc://{kernel}/k-%d' % number)
        if kind == zmq.SUB:
            s.setsockopt(zmq.SUBSCRIBE, b'')
        sockets.append(s)
print('listening', flush=True)
import time
until, heard = time.monotonic() + 4, []
while time.monotonic() < until:
    for s in sockets:
        if s.poll(50):
            heard.append(s.recv_multipart())
print('heard', heard)
context.destroy(0)
"""


def test_what_another_session_says_and_runs_cannot_be_overheard(here: World) -> None:
    kernel = here.victim.run_dir / "kernel"
    assert {"k-1", "k-2", "k-3", "k-4", "k-5"} <= {path.name for path in kernel.iterdir()}
    user = here.attacker.user
    listening = user.submit(here.attacker.id, LISTEN.format(kernel=kernel))
    user.await_state(listening, {"RUNNING"})
    for _ in range(3):
        here.victim.run(f"print({SECRET!r})")
    found = user.await_state(listening, {"COMPLETED", "FAILED"})
    stdout = user.read(found["Result"]["StdOutS3Uri"])

    assert stdout.endswith("heard []\n"), stdout


# --- the mapping ---------------------------------------------------------------------------------


def test_a_role_gives_its_user_its_environment_and_its_properties(here: World) -> None:
    has_user = MODES[here.mode][1]
    seen = here.attacker.run(
        "import getpass, os\nprint(os.environ['ROLE_SECRET'], os.getuid(), sep=' ')\n"
        "print(sc._jvm.System.getenv('ROLE_SECRET'), sc._jvm.System.getProperty('user.name'))\n"
        "print(spark.conf.get('spark.sql.shuffle.partitions'))\n"
        "print(spark.sparkContext.parallelize([1], 1).map(lambda _: os.getuid()).first())"
    )[0].split("\n")
    uid, name = ("65534", ATTACKER_USER) if has_user else (str(os.getuid()), "root")
    assert seen[:4] == [f"x {uid}", f"x {name}", "3", uid]
    timeline = here.attacker.user.timeline(here.attacker.id)
    assert timeline["warm"] is False
    assert timeline["why"] == "its execution role is mapped to an identity of its own"
    assert ("user nobody" in timeline["isolation"]) == has_user


def test_the_folders_of_the_server_let_nobody_in_but_those_who_must(here: World) -> None:
    data = here.server.data_dir
    group_or_others = {
        str(path.relative_to(data)): oct(mode & 0o7777)
        for path, mode in modes_in(data).items()
        if not path.is_relative_to(here.buckets)
        # What lies in the metastore's own folder has the modes of what it makes in buckets.
        and data / "catalog" / "metastore" not in path.parents
        and not stat.S_ISLNK(mode)
        and mode & 0o077
        and not any(path.is_relative_to(s.run_dir) for s in (here.victim, here.attacker))
    }
    # Nothing lies in `engines` here; what may lie there is nobody's secret.
    group_or_others.pop("engines", None)
    assert group_or_others == ({"drivers": "0o710"} if MODES[here.mode][1] else {})
    if MODES[here.mode][1]:
        kept = {
            path: mode for path, mode in modes_in(here.buckets).items() if not stat.S_ISLNK(mode)
        }
        assert [path for path, mode in kept.items() if mode & 0o007] == []


def test_nothing_outlives_a_killed_agent_whoever_it_ran_as(here: World) -> None:
    session = new_session(here, "attacker")
    session.run("import subprocess\nchild = subprocess.Popen(['sleep', '600'])")

    os.kill(session.pid("agent"), signal.SIGKILL)

    session.user.await_session(session.id, GONE)
    wait_for(
        lambda: (session.run_dir.exists(), processes_of(session.run_dir)),
        lambda left: left == (False, {}),
    )


@pytest.mark.skipif(why_not("user") is not None, reason=str(why_not("user")))
def test_a_session_without_a_role_runs_as_the_user_of_all_sessions() -> None:
    with open_folder() as folder:
        program = (str(open_python(folder)), "-P", "-m", "sparkowl")
        settings = {
            "CACHE_DIR": str(archives.copied(folder)),
            "DRIVER__USER": ATTACKER_USER,
            "DRIVER__GROUP": GROUP,
            "DRIVER__CORES": "1",
            "POOL__SIZE": "0",
        }
        with running(folder, program, **settings) as server:
            user = User(server.client("athena"), server.client("s3"))
            session = user.session()

            _, stdout, stderr = user.run(session, "import os\nprint(os.getuid())")

            assert (stdout, stderr) == ("65534\n", "")
            assert "isolation of drivers: " in server.log()

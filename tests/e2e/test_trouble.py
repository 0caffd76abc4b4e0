"""User code that harms: each ends with a true state and reason, and harms nobody else.

One server for all; beside every session that is harmed another one works on, with its variables.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import ENDED, GONE, Server, User, pid_of, processes_of, running, wait_for
from tests.folders import modes_in

pytestmark = pytest.mark.spark

UNHEALTHY = "Session in unhealthy state. Please create a new session"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # The heap is small, so that it is soon full; the limit leaves Python 700 MiB or so.
    with running(
        tmp_path_factory.mktemp("server"),
        POOL__SIZE="1",
        DRIVER__HEAP="512m",
        DRIVER__MEMORY_LIMIT_MB="1300",
        DRIVER__OUTPUT_LIMIT_BYTES="1048576",
    ) as started:
        yield started


@dataclass
class Bystander:
    """A session that must not notice anything."""

    server: Server
    user: User
    session: str

    def unharmed(self) -> None:
        code = "count = spark.range(7).count()\nprint(kept, count)"
        assert self.user.run(self.session, code)[1] == "still here 7\n"
        assert self.server.process.poll() is None


@pytest.fixture(scope="module")
def bystander(server: Server, user: User) -> Bystander:
    session = user.session()
    user.run(session, "kept = 'still here'")
    return Bystander(server, user, session)


@pytest.fixture(scope="module")
def survivor(user: User, bystander: Bystander) -> str:
    """A session for what one survives; those that die have their own."""
    return user.session()


def lost(user: User, session: str, code: str) -> tuple[Any, str, str]:
    """The calculation that cost the session its life, its stdout, and the session's reason."""
    found, stdout, _ = user.run(session, code)
    status = user.await_session(session, GONE)
    assert status["State"] == "FAILED"
    reason = status["StateChangeReason"]
    assert reason.startswith(UNHEALTHY)
    assert reason.endswith(f" Diagnose it with: sparkowl sessions diagnose {session}")
    return found, stdout, reason


#: What a process said a moment before it dies may still be on its way.
SO_FAR = "import time\nprint('so far', flush=True)\ntime.sleep(1)\n"

DEADLY = {
    "os._exit": (
        "import os\nos._exit(3)",
        "[CRASH] The Python kernel exited with status 3.",
    ),
    "a signal to itself": (
        "import os\nos.kill(os.getpid(), 9)",
        "[CRASH] The Python kernel was killed by signal 9.",
    ),
    "every file descriptor closed": (
        "import os, time\nos.closerange(0, 4096)\nos.abort()",
        "[CRASH] The Python kernel was killed by signal 6.",
    ),
    "the JVM ends itself": (
        "sc._jvm.java.lang.Runtime.getRuntime().halt(4)",
        "[CRASH] The Spark JVM exited with status 4.",
    ),
    "too much memory in Python": (
        "hog = []\nwhile True: hog.append(bytearray(b'x') * (16 << 20))",
        "[MEMORY] Its processes used ",
    ),
    "too much memory in children": (
        "import os, time\n"
        "for _ in range(4):\n    if os.fork() == 0:\n        hog = bytearray(b'x') * (300 << 20)\n"
        "        time.sleep(600)\ntime.sleep(600)",
        "[MEMORY] Its processes used ",
    ),
    "too much memory in a Spark task": (
        # By the row: what is constant is worked out by the caller, who gets an error.
        "each = \"size(split(repeat('a,', 500000000 + cast(id as int)), ','))\"\n"
        "spark.range(1).selectExpr(each).collect()",
        "[MEMORY] The Spark JVM exited with status 52",
    ),
}


@pytest.mark.parametrize("what", DEADLY)
def test_what_kills_the_driver_is_named_and_kills_no_other(
    server: Server, user: User, bystander: Bystander, what: str
) -> None:
    code, expected = DEADLY[what]
    session = user.session()
    driver = user.athena.list_executors(SessionId=session)["ExecutorsSummary"][0]["ExecutorId"]

    found, stdout, reason = lost(user, session, SO_FAR + code)

    assert expected in reason
    assert found["Status"]["State"] == "FAILED"
    # The block may see that its JVM is gone, and end by that error, before the agent sees it.
    why = found["Status"]["StateChangeReason"]
    assert expected in why or ("JVM" in expected and "Py4J" in why)
    assert stdout == "so far\n"
    folder = server.data_dir / "drivers" / driver
    wait_for(lambda: (folder.exists(), processes_of(folder)), lambda left: left == (False, {}))
    bystander.unharmed()


HARMLESS = {
    "sys.exit": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "quit": ("quit()", None),
    "no standard streams": ("import os\nfor n in (0, 1, 2): os.close(n)", None),
    "no stdout": ("import sys\nsys.stdout = None", None),
    "no working directory": ("import os, shutil\nshutil.rmtree(os.getcwd())", None),
    "bytes": ("import os\nos.write(1, bytes(range(256)))\nprint('\\udcff\\x00')", None),
    "to kill the agent": ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
    "to kill the agent's group": (
        "import os\nos.killpg(os.getpgid(os.getppid()), 9)", "PermissionError",
    ),
    "to hide": (
        "import resource\nresource.setrlimit(10, (1, 1))", "not allowed|Operation not permitted",
    ),
    "its own child": (
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nchild.kill()\n"
        "assert child.wait() == -9",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_session_survives(
    user: User, survivor: str, bystander: Bystander, what: str
) -> None:
    code, error = HARMLESS[what]

    found, _, _ = user.run(survivor, code)

    status = found["Status"]
    if error is None:
        assert status["State"] in ("COMPLETED", "FAILED")
    else:
        assert status["State"] == "FAILED"
        assert any(word in status["StateChangeReason"] for word in error.split("|"))
    assert user.run(survivor, "print(spark.range(3).count())")[1] == "3\n"
    bystander.unharmed()


def test_everybody_killed_is_everybody_of_the_session(
    server: Server, user: User, bystander: Bystander
) -> None:
    session = user.session()

    _, _, reason = lost(
        user,
        session,
        "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    time.sleep(600)\nos.kill(-1, 9)\nos._exit(5)",
    )

    # The kernel (the operating system's) spares whoever calls.
    assert "[CRASH] The Python kernel exited with status 5." in reason
    bystander.unharmed()


def test_the_jvm_is_out_of_the_kernels_reach(
    server: Server, user: User, survivor: str, bystander: Bystander
) -> None:
    jvm = pid_of(server.data_dir, survivor, user, "jvm")

    found, _, _ = user.run(survivor, f"import os\nos.kill({jvm}, 9)")

    assert "PermissionError" in found["Status"]["StateChangeReason"]
    assert user.run(survivor, "print(spark.range(3).count())")[1] == "3\n"
    bystander.unharmed()


def test_a_jvm_that_runs_out_of_heap_for_its_caller_lives(
    user: User, survivor: str, bystander: Bystander
) -> None:
    code = (
        "hog = sc._jvm.java.util.ArrayList()\n"
        "while True: hog.add(sc._gateway.new_array(sc._jvm.long, 8 << 20))"
    )

    found, _, _ = user.run(survivor, code)

    assert found["Status"]["State"] == "FAILED"
    assert "Py4J" in found["Status"]["StateChangeReason"]
    assert user.run(survivor, "del hog\nimport gc; gc.collect()\nprint(1)")[1] == "1\n"
    bystander.unharmed()


DAEMON = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.write(writing, str(os.getpid()).encode())
    os.execve("/bin/sleep", ["sleep", "9873"], {})
print(os.read(reading, 20).decode())
"""


@pytest.mark.parametrize("end", ["terminated", "agent killed"])
def test_a_daemon_that_hides_ends_with_its_session(
    server: Server, user: User, bystander: Bystander, end: str
) -> None:
    session = user.session()
    child = Path("/proc") / user.run(session, DAEMON)[1].strip()
    wait_for(lambda: (child / "cmdline").read_bytes(), lambda text: text.startswith(b"sleep"))
    assert (child / "environ").read_bytes() == b""
    assert (child / "cwd").readlink() == Path("/")

    if end == "terminated":
        user.end(session)
    else:
        os.kill(pid_of(server.data_dir, session, user, "agent"), signal.SIGKILL)
        user.await_session(session, GONE)

    wait_for(child.exists, lambda there: not there)
    bystander.unharmed()


def test_a_gigabyte_is_cut_and_not_kept_in_memory(
    server: Server, user: User, survivor: str, bystander: Bystander
) -> None:
    agent = pid_of(server.data_dir, survivor, user, "agent")
    code = "line = 'x' * 1023 + '\\n'\nfor _ in range(1024): print(line * 1024, end='')"

    found, stdout, _ = user.run(survivor, code)

    assert found["Status"]["State"] == "COMPLETED", found["Status"]
    assert len(stdout) < 1_048_576 + 100
    assert stdout.endswith("[Output cut after 1048576 bytes.]\n")
    assert peak_mib(agent) < 400
    bystander.unharmed()


def peak_mib(pid: int) -> int:
    """The most memory that a process ever had."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def until_begun(user: User, calculation: str) -> None:
    wait_for(
        lambda: user.athena.get_calculation_execution(CalculationExecutionId=calculation),
        lambda found: "Result" in found and user.read(found["Result"]["StdOutS3Uri"]) == "begun\n",
    )


STUBBORN = {
    "C code that no interrupt reaches": "sum(range(10**12))",
    # To block them is not enough: the kernel's other threads still take them.
    "signals ignored": (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    ),
}


@pytest.mark.timeout(300)  # three starts, one after the other, and the bound
def test_what_cannot_be_interrupted_is_killed_within_the_bound(
    user: User, bystander: Bystander
) -> None:
    # Both at once: the bound is long.
    begun = {}
    for what, code in STUBBORN.items():
        session = user.session()
        # Such code does not even let the kernel send what was printed before.
        pause = "import time\nprint('begun', flush=True)\ntime.sleep(1)\n"
        # The pause can be interrupted: it has to be over.
        calculation = user.submit(session, f"{pause}open('over', 'w').close()\n{code}")
        until_begun(user, calculation)
        begun[what] = session, calculation
    drivers = bystander.server.data_dir / "drivers"
    over = wait_for(
        lambda: [path for path in modes_in(drivers) if path.name == "over"],
        lambda found: len(found) == len(begun),
    )
    assert len(over) == 2
    asked_at = time.monotonic()
    for _, calculation in begun.values():
        user.athena.stop_calculation_execution(CalculationExecutionId=calculation)

    for session, calculation in begun.values():
        assert user.await_state(calculation, ENDED)["Status"]["State"] == "CANCELED"
        reason = user.await_session(session, GONE)["StateChangeReason"]
        assert "[USER] A block did not stop within 20 s" in reason

    assert time.monotonic() - asked_at < 45
    bystander.unharmed()

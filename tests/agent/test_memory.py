"""What a driver's memory comes to: with real processes, and a folder that stands for ``/proc``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.conftest import eventually

from sparkowl.agent import memory

MIB = 1 << 20
#: A parent with 40 MiB that its two children share, and 30 MiB that each child has for itself.
PROGRAM = """
import os, sys, time
shared = bytearray(b"x") * (40 << 20)
children = []
for _ in range(2):
    reading, writing = os.pipe()
    if os.fork() == 0:
        own = bytearray(b"y") * (30 << 20)
        os.write(writing, b"!")
        time.sleep(600)
    os.read(reading, 1)
print("ready", flush=True)
sys.stdin.read()
os.killpg(0, 9)
"""


@pytest.fixture
def parent() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process.pid
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_a_family_is_a_process_and_all_below_it(parent: int) -> None:
    assert len(list(memory.family(parent))) == 3
    assert parent in memory.family(os.getpid())


def test_shared_pages_count_once(parent: int) -> None:
    members = list(memory.family(parent))

    resident = sum(map(memory.resident, members)) / MIB
    proportional = sum(map(memory.proportional, members)) / MIB

    assert resident > 180
    assert 100 < proportional < resident - 70


@pytest.mark.parametrize(("limit", "over"), [(90, True), (150, False), (1000, False)])
def test_only_what_is_really_used_counts(parent: int, limit: int, over: bool) -> None:
    watch = memory.Watch(limit * MIB, lambda: memory.family(parent))

    used = watch.over()

    assert (used is not None) is over
    assert used is None or 100 * MIB < used < 150 * MIB


def test_a_process_that_is_gone_uses_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert memory.resident(child.pid) == memory.proportional(child.pid) == 0
    eventually(lambda: child.pid not in memory.family(os.getpid()))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "7").mkdir()
    return tmp_path


def size(proc: Path, resident_mib: int, proportional_mib: int | None) -> None:
    pages = resident_mib * MIB // os.sysconf("SC_PAGE_SIZE")
    (proc / "7" / "statm").write_text(f"{2 * pages} {pages} 0 0 0 0 0\n")
    rollup = proc / "7" / "smaps_rollup"
    rollup.unlink(missing_ok=True)
    if proportional_mib is not None:
        rollup.write_text(f"00-ff ---p 0 0 [rollup]\nRss: 1 kB\nPss: {proportional_mib << 10} kB\n")


def test_what_another_users_process_does_not_tell_is_what_is_resident(proc: Path) -> None:
    size(proc, 90, None)

    assert memory.proportional(7, proc) == 90 * MIB


def test_the_exact_size_is_asked_for_when_it_can_matter(proc: Path) -> None:
    now = [0.0]
    watch = memory.Watch(100 * MIB, lambda: [7], proc, clock=lambda: now[0])
    size(proc, 150, 60)
    assert watch.over() is None

    # Forty more may be used before it can be over; not even looked at until then...
    size(proc, 189, 999)
    assert watch.over() is None
    size(proc, 190, 101)
    assert watch.over() == 101 * MIB

    # ...or for a second, in which shared pages may have become private.
    size(proc, 150, 60)
    now[0] += 1
    assert watch.over() is None
    size(proc, 150, 120)
    assert watch.over() is None
    now[0] += 1
    assert watch.over() == 120 * MIB


def test_a_process_that_ended_since_the_last_look_does_not_count(proc: Path) -> None:
    # Another session's may have its number by now.
    members = [7]
    watch = memory.Watch(100 * MIB, lambda: list(members), proc, clock=lambda: 0.0)
    size(proc, 50, 50)
    assert watch.over() is None
    members.clear()
    size(proc, 500, 500)
    assert watch.over() is None


def test_the_kernels_own_killings_are_counted(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\nswap_ra 0\n")

    assert memory.oom_kills(vmstat) == 3
    assert memory.oom_kills(tmp_path / "none") == 0


@pytest.mark.parametrize(("events", "killed"), [("oom 1\noom_kill 0\n", False),
                                                ("oom 1\noom_kill 2\n", True)])  # fmt: skip
def test_so_are_those_in_a_group(tmp_path: Path, events: str, killed: bool) -> None:
    (tmp_path / "memory.events").write_text(events)

    assert memory.killed_in_group(str(tmp_path)) is killed
    assert not memory.killed_in_group(str(tmp_path / "none"))
    assert not memory.killed_in_group(None)


def test_the_sentence_has_both_numbers() -> None:
    assert memory.too_much(3500 * MIB, 3072 * MIB) == (
        "Its processes used 3500 MiB of memory together, and 3072 MiB are allowed."
    )

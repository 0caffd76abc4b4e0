"""Whom user code can signal where Landlock does not see to it, and the mark that it cannot shed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.conftest import eventually

from sparkowl.agent import confine, seccomp
from sparkowl.agent.processes import first_to_go, joining, mark, tagged
from sparkowl.agent.signs import mark_of
from sparkowl.launchers import processes

NO_NEW_PRIVS = 38


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def attempt(code: str, *unreachable: int) -> str:
    """The last line that a confined Python says; ``done`` where nothing was refused."""
    enter = seccomp.prepare(unreachable=unreachable)

    def confined() -> None:
        # Only then may an ordinary user have a filter.
        seccomp._libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
        enter()

    said = subprocess.run(
        [sys.executable, "-c", f"import os, resource, signal, subprocess\n{code}\nprint('done')"],
        capture_output=True,
        text=True,
        start_new_session=True,
        preexec_fn=confined,
    )
    return (said.stdout or said.stderr).strip().splitlines()[-1]


WAYS = ["os.kill({pid}, 0)", "os.killpg({pid}, 0)", "os.pidfd_open({pid})",
        "signal.pidfd_send_signal(os.pidfd_open({pid}), 0)"]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_unreachable_gets_no_signal(victim: subprocess.Popen[bytes], way: str) -> None:
    code = way.format(pid=victim.pid)

    assert attempt(code, victim.pid).startswith("PermissionError")
    assert attempt(code) == "done"


def test_nobody_kills_everybody() -> None:
    # Signal 0 only asks; and where the filter failed, it would harm nobody.
    assert attempt("os.kill(-1, 0)", os.getpid()).startswith("PermissionError")


def test_ones_own_can_be_signalled() -> None:
    code = (
        "child = subprocess.Popen(['sleep', '600'])\nchild.kill()\nassert child.wait() == -9\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\nos.kill(os.getpid(), signal.SIGUSR1)\n"
        "os.kill(0, 0)\nsignal.raise_signal(signal.SIGUSR1)"
    )
    assert attempt(code, os.getpid()) == "done"


def test_the_mark_cannot_be_lowered_and_other_limits_can() -> None:
    assert attempt("resource.setrlimit(10, (1, 1))").endswith("not allowed to raise maximum limit")
    assert attempt("resource.prlimit(0, 10, (1, 1))").startswith("PermissionError")
    code = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nresource.getrlimit(7)"
    assert attempt(code) == "done"


def test_every_limit_can_be_read() -> None:
    assert attempt("[resource.getrlimit(number) for number in range(16)]") == "done"
    shell = "said = subprocess.run(['sh', '-c', 'ulimit -a'], capture_output=True)\n"
    assert attempt(shell + "assert said.returncode == 0 and not said.stderr, said") == "done"


def in_child(act: Callable[[], None]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "600"], cwd="/", env={}, preexec_fn=act)


def test_a_marked_process_is_found_with_nothing_else_to_know_it_by(tmp_path: Path) -> None:
    ours, other = tmp_path / "d-1", tmp_path / "d-2"
    child = in_child(lambda: mark(ours))
    try:
        assert processes.of_driver("d-1", ours) == [child.pid]
        assert processes.of_driver("d-2", other) == []
        assert list(tagged("d-1", ours)) == [child.pid]
        assert mark_of(ours) != mark_of(other)
    finally:
        child.kill()
        # As a zombie, until it is waited for.
        eventually(lambda: processes.of_driver("d-1", ours) == [])
        child.wait()


def test_a_driver_is_known_by_its_folder_whatever_way_leads_there(tmp_path: Path) -> None:
    (tmp_path / "real" / "d-1" / "work").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    real, linked = tmp_path / "real" / "d-1", tmp_path / "link" / "d-1"
    child = in_child(lambda: mark(linked))
    standing = subprocess.Popen(["/bin/sleep", "600"], cwd=real / "work", env={})
    try:
        assert list(tagged("d-1", real)) == list(tagged("d-1", linked)) == [child.pid]
        for folder in (real, linked):
            found = processes.of_driver("d-1", folder)
            assert sorted(found) == sorted([child.pid, standing.pid])
            assert processes.belongs(standing.pid, folder)
    finally:
        for one in (child, standing):
            one.kill()
            one.wait()


def test_an_agent_leaves_the_processes_of_its_drivers_original_alone(tmp_path: Path) -> None:
    tags = {"SPARKOWL_DRIVER": "d-1", "SPARKOWL_DRIVER_FOLDER": str(tmp_path / "one")}
    original = subprocess.Popen(["/bin/sleep", "600"], cwd="/", env=tags)
    try:
        eventually(lambda: list(tagged("d-1", tmp_path / "one")) == [original.pid])
        assert list(tagged("d-1", tmp_path / "two")) == []
    finally:
        original.kill()
        original.wait()


def test_a_lower_limit_that_is_set_already_stays(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(10, (5, 5))
        mark(tmp_path)

    child = in_child(limited)
    try:
        assert child.poll() is None
        assert list(tagged("d-1", tmp_path)) == []
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("inherited", "own"), [("-200\n", "0"), ("0\n", "0\n"), ("300\n", "300\n")]
)
def test_a_driver_does_not_keep_what_spares_the_server_when_memory_is_short(
    tmp_path: Path, inherited: str, own: str
) -> None:
    # Only the machine's root could spare a process for this.
    adjustment = tmp_path / "oom_score_adj"
    adjustment.write_text(inherited)

    first_to_go(adjustment)
    first_to_go(tmp_path / "missing")

    assert adjustment.read_text() == own


def test_a_child_joins_its_control_group_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    child = in_child(joining(str(tmp_path)))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (tmp_path / "cgroup.procs").read_text() == "0\n"
    joining(None)()


def test_what_is_in_force_is_said() -> None:
    scoped = confine.unavailable() is None and confine.abi() >= 6
    assert (confine.signals() == "") is scoped

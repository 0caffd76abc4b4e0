"""Control groups, over a folder that stands for the file system of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.launchers.groups import Groups, delegated

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system in which a unit's group was delegated, the server in its own below."""
    root = tmp_path / "cgroup"
    (root / "sparkowl.service" / "server").mkdir(parents=True)
    (root / "sparkowl.service" / "cgroup.controllers").write_text("cpu memory pids\n")
    (root / "sparkowl.service" / "cgroup.subtree_control").write_text("\n")
    return root


def own(root: Path, name: str) -> Path:
    file = root / "own"
    file.write_text(f"12:cpuset:/\n0::{name}\n")
    return file


def test_a_delegated_group_is_found_and_its_memory_controller_turned_on(root: Path) -> None:
    base = delegated(root, own(root, "/sparkowl.service/server"))

    assert base == root / "sparkowl.service"
    assert (base / "cgroup.subtree_control").read_text() == "+memory"


@pytest.mark.parametrize("name", ["/", "/sparkowl.service", "/user.slice/server"])
def test_no_group_is_taken_that_nobody_gave(root: Path, name: str) -> None:
    assert delegated(root, own(root, name)) is None
    assert (root / "sparkowl.service" / "cgroup.subtree_control").read_text() == "\n"


def test_nor_one_without_the_memory_controller(root: Path) -> None:
    (root / "sparkowl.service" / "cgroup.controllers").write_text("cpu pids\n")

    assert delegated(root, own(root, "/sparkowl.service/server")) is None


def test_a_driver_has_a_group_with_its_limit(tmp_path: Path) -> None:
    groups = Groups(tmp_path)

    group = groups.make("d-1", 3072 * MIB)

    assert group == tmp_path / "driver-d-1"
    assert (group / "memory.max").read_text() == str(3072 * MIB)
    assert (group / "memory.oom.group").read_text() == "1"
    assert groups.members("d-1") == []
    (group / "cgroup.procs").write_text("17\n4711\n")
    assert groups.members("d-1") == [17, 4711]


def test_without_a_limit_or_a_place_there_is_no_group(tmp_path: Path) -> None:
    assert Groups(tmp_path).make("d-1", 0) is None
    assert Groups(tmp_path / "gone").make("d-1", MIB) is None
    assert Groups(None).make("d-1", MIB) is None
    assert Groups(None).members("d-1") == []
    assert list(tmp_path.iterdir()) == []


def test_a_groups_processes_are_killed_at_once(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    group = groups.make("d-1", MIB)
    assert group is not None

    groups.remove("d-1")
    groups.remove("d-2")

    # A plain folder keeps its files; the kernel's goes with them.
    assert (group / "cgroup.kill").read_text() == "1"
    assert not (tmp_path / "driver-d-2").exists()

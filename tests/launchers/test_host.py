"""What a host has left for another driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.launchers.host import available_memory, lacks

MIB = 1024 * 1024


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  4000 kB\nMemFree:  1 kB\nMemAvailable:     102400 kB\n")
    return file


def test_memory_that_is_short_is_named_with_both_numbers(tmp_path: Path, meminfo: Path) -> None:
    assert lacks(tmp_path, memory=100 * MIB, disk=0, meminfo=meminfo) is None
    assert (
        lacks(tmp_path, memory=101 * MIB, disk=0, meminfo=meminfo)
        == "101 MiB of memory are needed and 100 MiB available"
    )


def test_so_is_the_disk_of_a_folder_that_need_not_exist(tmp_path: Path, meminfo: Path) -> None:
    folder = tmp_path / "not" / "yet"

    assert lacks(folder, memory=0, disk=1, meminfo=meminfo) is None
    lack = lacks(folder, memory=0, disk=1 << 60, meminfo=meminfo)
    assert lack is not None
    assert lack.startswith(f"{(1 << 60) // MIB} MiB of disk are needed and ")
    assert not folder.exists()


def test_this_machine_has_some_memory_and_not_more_than_it_has() -> None:
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )

    assert 0 < available_memory() <= total


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [("50", "10", "5", 45), ("max", "10", "5", 100), ("9999", "10", "0", 100)],
)
def test_a_containers_limit_counts_where_it_is_the_smaller(
    tmp_path: Path, meminfo: Path, limit: str, used: str, cached: str, left: int
) -> None:
    pod = tmp_path / "groups" / "pod"
    (pod / "ours").mkdir(parents=True)
    (pod / "memory.max").write_text(limit if limit == "max" else str(int(limit) * MIB))
    (pod / "memory.current").write_text(str(int(used) * MIB))
    (pod / "memory.stat").write_text(f"anon 1\ninactive_file {int(cached) * MIB}\n")
    own = tmp_path / "cgroup"
    own.write_text("1:memory:/elsewhere\n0::/pod/ours\n")

    assert available_memory(meminfo, tmp_path / "groups", own) == left * MIB

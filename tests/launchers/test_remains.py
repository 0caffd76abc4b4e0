"""What a dead driver left in its folder, where user code may have been before us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sparkowl.launchers import remains


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    folder = tmp_path / "drivers" / "d"
    for name in ("outbox", "spool"):
        (folder / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("the server's")
    return folder


def spooled(driver: Path, **contents: str) -> None:
    folder = driver / "spool" / "c"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_text(content)


def test_facts_come_in_their_order(driver: Path) -> None:
    for number in (2, 10, 1):
        (driver / "outbox" / f"{number:08d}.json").write_text(str(number))
    (driver / "outbox" / "00000003.part").write_text("not complete")

    assert remains.facts(driver.parent, "d") == ["1", "2", "10"]


def test_the_drivers_folders_may_be_on_another_disk(driver: Path, tmp_path: Path) -> None:
    (driver / "outbox" / "00000001.json").write_text("1")
    (tmp_path / "linked").symlink_to(driver.parent)

    assert remains.facts(tmp_path / "linked", "d") == ["1"]


def test_outputs_come_by_their_names(driver: Path) -> None:
    spooled(driver, stdout="out", result_json="{}", other="x")

    assert remains.calculations(driver.parent, "d") == ["c"]
    assert remains.outputs(driver.parent, "d", "c", 100) == {"stdout": b"out", "result.json": b"{}"}


def test_of_a_driver_that_has_no_folder_nothing_is_left(driver: Path) -> None:
    assert remains.facts(driver.parent, "other") == []
    assert remains.calculations(driver.parent / "nowhere", "d") == []
    assert remains.outputs(driver.parent, "d", "c", 100) == {}


def test_what_is_out_of_reach_is_not_taken_for_nothing(driver: Path) -> None:
    driver.parent.rename(driver.parent.with_name("aside"))
    driver.parent.touch()  # modes would not stop root

    with pytest.raises(NotADirectoryError):
        remains.facts(driver.parent, "d")
    with pytest.raises(NotADirectoryError):
        remains.calculations(driver.parent, "d")


def test_a_link_to_a_file_is_not_followed(driver: Path, tmp_path: Path) -> None:
    spooled(driver, stderr="err")
    (driver / "spool" / "c" / "stdout").symlink_to(tmp_path / "secret")
    (driver / "outbox" / "00000001.json").symlink_to(tmp_path / "secret")

    assert remains.outputs(driver.parent, "d", "c", 100) == {"stderr": b"err"}
    assert remains.facts(driver.parent, "d") == []


@pytest.mark.parametrize("where", ["d", "d/spool", "d/spool/c"])
def test_a_link_on_the_way_is_not_followed(driver: Path, tmp_path: Path, where: str) -> None:
    spooled(driver, stdout="out")
    moved = tmp_path / "moved"
    (driver.parent / where).rename(moved)
    (driver.parent / where).symlink_to(moved)

    assert remains.outputs(driver.parent, "d", "c", 100) == {}


@pytest.mark.parametrize("name", ["..", ".", "", "../../secret", "c/../c"])
def test_a_calculation_is_one_name(driver: Path, name: str) -> None:
    spooled(driver, stdout="out")

    assert remains.outputs(driver.parent, "d", name, 100) == {}


def test_what_is_no_file_hangs_nobody(driver: Path) -> None:
    spooled(driver, stderr="err")
    os.mkfifo(driver / "spool" / "c" / "stdout")
    os.mkfifo(driver / "outbox" / "00000001.json")

    assert remains.outputs(driver.parent, "d", "c", 100) == {"stderr": b"err"}
    assert remains.facts(driver.parent, "d") == []


def test_what_is_larger_than_an_agent_writes_is_left_alone(driver: Path) -> None:
    spooled(driver, stdout="x" * 101, stderr="x" * 100)

    assert set(remains.outputs(driver.parent, "d", "c", 100)) == {"stderr"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_another_users_file_is_left_alone(driver: Path) -> None:
    spooled(driver, stdout="out")
    os.chown(driver / "spool" / "c" / "stdout", 65534, 65534)

    assert remains.outputs(driver.parent, "d", "c", 100) == {}

"""The three files of a calculation: cutting, folding, linking, and disks that are full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparkowl.agent.outputs import Folded, Outputs, Stream

LIMIT = 100


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "spool" / "c", tmp_path / "out", LIMIT)


def results(tmp_path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((tmp_path / "out" / "result.json").read_text())[
        "outputs"
    ]
    return found


def shown(text: str) -> dict[str, Any]:
    return {"data": {"text/plain": text}, "metadata": {}}


def test_all_three_exist_when_nothing_was_said(outputs: Outputs, tmp_path: Path) -> None:
    assert (tmp_path / "out" / "stdout").read_text() == ""
    assert results(tmp_path) == []
    outputs.close()
    assert (tmp_path / "out" / "stderr").read_text() == ""
    assert results(tmp_path) == []
    assert outputs.trouble == ""


def test_what_is_said_is_seen_at_once(outputs: Outputs, tmp_path: Path) -> None:
    outputs.text("stdout", "é")
    assert (tmp_path / "out" / "stdout").read_text() == "é"
    outputs.close()


@given(pieces=st.lists(st.text()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_is_between_characters_and_says_so(tmp_path: Path, pieces: list[str]) -> None:
    path = tmp_path / "stream"
    path.unlink(missing_ok=True)
    stream = Stream(path, LIMIT)
    for piece in pieces:
        stream.write(piece)
    stream.close()
    whole = "".join(pieces).encode("utf-8", "replace")
    written = path.read_bytes()
    if len(whole) <= LIMIT:
        assert written == whole
    else:
        kept, _, said = written.decode().rpartition("\n[")
        assert said == "Output cut after 100 bytes.]\n"
        assert whole.startswith(kept.encode())
        assert LIMIT - 4 < len(kept.encode()) <= LIMIT


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        (["a\rb"], "b"),
        (["a\r", "b"], "b"),
        (["a\r\nb"], "a\nb"),
        (["a\r", "\nb"], "a\nb"),
        (["10%\r", "20%\r", "30%\n", "done\n"], "30%\ndone\n"),
        (["kept\n10%", "\r20%"], "kept\n20%"),
        (["10%\r"], "10%"),
        (["\r\r\r1"], "1"),
    ],
)
def test_a_line_that_is_drawn_again_is_kept_once(
    tmp_path: Path, pieces: list[str], kept: str
) -> None:
    stream = Folded(tmp_path / "stream", LIMIT)
    for piece in pieces:
        stream.write(piece)
    stream.close()
    assert (tmp_path / "stream").read_bytes().decode() == kept


def test_a_bar_that_draws_for_ever_is_never_cut(tmp_path: Path) -> None:
    stream = Folded(tmp_path / "stream", LIMIT)
    for step in range(10_000):
        stream.write(f"\r{step:>90}")
    stream.close()
    assert (tmp_path / "stream").read_text().strip() == "9999"


def test_an_errors_text_is_kept_after_a_cut(outputs: Outputs, tmp_path: Path) -> None:
    outputs.text("stderr", "x" * 1000)
    outputs.error({"ename": "E", "evalue": "v", "traceback": ["E: v"]})
    outputs.close()
    assert (tmp_path / "out" / "stderr").read_text().endswith("cut after 100 bytes.]\nE: v\n")


def test_results_are_bounded(outputs: Outputs, tmp_path: Path) -> None:
    outputs.display("execute_result", shown("x" * 1000))
    outputs.display("display_data", shown("small"))
    outputs.close()
    first, second = results(tmp_path)
    assert first["data"]["text/plain"].startswith("[A result of ")
    assert second["data"]["text/plain"] == "small"


def test_so_is_what_is_said_of_results_that_are_left_out(outputs: Outputs, tmp_path: Path) -> None:
    for _ in range(1_000):
        outputs.display("display_data", shown("x" * 200))
    outputs.close()
    assert 1 < len(results(tmp_path)) < 200


def test_so_are_results_that_grow_when_they_are_updated(outputs: Outputs, tmp_path: Path) -> None:
    outputs.display("display_data", shown("x") | {"transient": {"display_id": "d"}})
    update = shown("x" * 200) | {"transient": {"display_id": "d"}}
    outputs.display("update_display_data", update)
    outputs.close()
    (only,) = results(tmp_path)
    assert "left out" in only["data"]["text/plain"]


def test_what_is_displayed_can_be_updated_and_cleared(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "spool" / "c", tmp_path / "out", 10_000)
    outputs.display("display_data", shown("gone"))
    outputs.clear(wait=True)
    outputs.display("display_data", shown("old") | {"transient": {"display_id": "a"}})
    outputs.display("update_display_data", shown("new") | {"transient": {"display_id": "a"}})
    outputs.close()
    assert [one["data"]["text/plain"] for one in results(tmp_path)] == ["new"]


def test_where_nothing_can_be_linked_it_is_copied(tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm") / f"sparkowl-{tmp_path.name}"
    outputs = Outputs(tmp_path / "spool" / "c", shared_memory, LIMIT)
    try:
        outputs.text("stdout", "hello")
        outputs.refresh()
        assert (shared_memory / "stdout").read_text() == "hello"
        outputs.text("stdout", " again")
        outputs.close()
        assert (shared_memory / "stdout").read_text() == "hello again"
        assert sorted(p.name for p in shared_memory.iterdir()) == [
            "result.json",
            "stderr",
            "stdout",
        ]
    finally:
        for file in shared_memory.iterdir():
            file.unlink()
        shared_memory.rmdir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("only root may mount a file system, and not everywhere")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def free(disk: Path) -> int:
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


def test_a_full_disk_is_remembered_and_given_room(small_disk: Path) -> None:
    outputs = Outputs(small_disk / "spool" / "c", small_disk / "out", 100 << 20)
    outputs.text("stdout", "begun\n")
    for _ in range(6):
        outputs.text("stdout", "x" * (1 << 20))
    outputs.error({"ename": "E", "evalue": "v", "traceback": []})
    outputs.close()
    assert outputs.trouble == (
        "The calculation's output could not be stored: No space left on device."
    )
    assert free(small_disk) >= 1 << 20
    assert (small_disk / "out" / "stdout").read_text().startswith("begun\nxxx")


def test_a_full_disk_takes_back_no_more_than_there_is(small_disk: Path) -> None:
    outputs = Outputs(small_disk / "spool" / "c", small_disk / "out", 100 << 20)
    (small_disk / "of another").write_bytes(b"x" * free(small_disk))
    outputs.text("stderr", "small")
    outputs.close()
    assert "No space left on device" in outputs.trouble
    assert (small_disk / "out" / "stderr").read_text() == ""


def test_a_full_disk_is_an_error_of_the_stream() -> None:
    stream = Stream(Path("/dev/full"), LIMIT)
    with pytest.raises(OSError, match="No space left") as caught:
        stream.write("x")
    assert caught.value.errno == errno.ENOSPC
    stream.close()


def test_a_place_that_cannot_be_written_is_remembered_and_never_raised(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    outputs = Outputs(tmp_path / "spool" / "c", tmp_path / "out", LIMIT)
    outputs.text("stdout", "x")
    outputs.error({"ename": "E", "evalue": "v", "traceback": []})
    outputs.display("execute_result", shown("x"))
    outputs.close()
    assert outputs.trouble == (
        "The calculation's output could not be stored: "
        "'out' is a link or a file where a folder should be."
    )
    outputs.close()


NAMES = ("stdout", "stderr", "result.json")


@pytest.fixture(params=["linked", "copied"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A spool on the file system of the output folder, and one elsewhere."""
    if request.param == "linked":
        yield tmp_path / "spool"
    else:
        elsewhere = Path("/dev/shm") / f"sparkowl-{tmp_path.name}"
        yield elsewhere
        shutil.rmtree(elsewhere)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder with files that user code could not write."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text("mine")
    return folder


def untouched(victim: Path) -> bool:
    return {p.name: p.read_text() for p in victim.iterdir()} == dict.fromkeys(NAMES, "mine")


def test_a_link_in_the_place_of_the_folder_is_not_followed(
    tmp_path: Path, spool: Path, victim: Path
) -> None:
    out = tmp_path / "out"
    outputs = Outputs(spool / "c", out, LIMIT)
    out.rename(tmp_path / "moved")
    out.symlink_to(victim)
    outputs.text("stdout", "x")
    outputs.refresh()
    outputs.display("execute_result", shown("x"))
    outputs.close()
    assert untouched(victim)
    assert (tmp_path / "moved" / "stdout").read_text() == "x"


def test_a_link_on_the_way_is_not_followed(tmp_path: Path, spool: Path, victim: Path) -> None:
    (tmp_path / "way").symlink_to(victim)
    for place in ("way", "way/deeper", "../way"):
        outputs = Outputs(spool / "c", tmp_path / place, LIMIT)
        outputs.text("stdout", "x")
        outputs.close()
        assert "could not be stored: '" in outputs.trouble
    assert untouched(victim)


def test_links_under_the_names_of_the_outputs_are_replaced(
    tmp_path: Path, spool: Path, victim: Path
) -> None:
    out = tmp_path / "out"

    def plant() -> None:
        for name in NAMES:
            for planted in (name, f".{name}.part"):
                (out / planted).unlink(missing_ok=True)
                (out / planted).symlink_to(victim / name)

    out.mkdir()
    plant()
    outputs = Outputs(spool / "c", out, LIMIT)
    assert [name for name in NAMES if (out / name).is_symlink()] == []
    plant()
    outputs.text("stdout", "x")
    outputs.refresh()
    plant()
    outputs.close()
    assert untouched(victim)
    assert not (out / "result.json").is_symlink()


def test_a_folder_under_the_name_of_an_output_fails_the_calculation(
    tmp_path: Path, spool: Path
) -> None:
    (tmp_path / "out" / "stdout").mkdir(parents=True)
    outputs = Outputs(spool / "c", tmp_path / "out", LIMIT)
    outputs.close()
    assert outputs.trouble == "The calculation's output could not be stored: Is a directory."
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["result.json", "stderr", "stdout"]
    assert (spool / "c" / "stdout").exists()


def test_what_cannot_be_stored_stays_complete_in_the_spool(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    outputs = Outputs(tmp_path / "spool" / "c", tmp_path / "out", LIMIT)

    outputs.text("stdout", "all of it")
    outputs.close()

    assert outputs.trouble
    assert (tmp_path / "spool" / "c" / "stdout").read_text() == "all of it"
    assert json.loads((tmp_path / "spool" / "c" / "result.json").read_text()) == {"outputs": []}

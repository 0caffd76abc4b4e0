"""What is kept of ended drivers: bounded, and never what a link leads to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sparkowl.launchers import postmortem
from sparkowl.launchers.postmortem import Keep


def a_folder(tmp_path: Path, name: str = "d") -> Path:
    run_dir = tmp_path / "drivers" / name
    (run_dir / "outbox").mkdir(parents=True)
    (run_dir / "agent.log").write_bytes(b"begin" + b"x" * postmortem.TAIL_BYTES + b"end")
    (run_dir / "outbox" / "00000001.json").write_text('{"kind": "failed", "seq": 1}')
    return run_dir


def a_rule(tmp_path: Path, drivers: int = 10, size: int = 1 << 30) -> Keep:
    return Keep(folder=tmp_path / "postmortem", drivers=drivers, size_bytes=size)


def test_the_ends_of_the_logs_are_kept(tmp_path: Path) -> None:
    postmortem.keep(a_folder(tmp_path), "d", {"agent": "x"}, a_rule(tmp_path))

    kept = tmp_path / "postmortem" / "d"
    content = (kept / "agent.log").read_bytes()
    assert (len(content), content[-3:]) == (postmortem.TAIL_BYTES, b"end")
    assert (kept / "end.json").read_text() == (
        '{"agent": "x", "unacknowledged": [{"kind": "failed", "seq": 1}]}\n'
    )


def test_links_and_pipes_in_the_place_of_logs_are_not_read(tmp_path: Path) -> None:
    run_dir = a_folder(tmp_path)
    (tmp_path / "secret").write_text("secret")
    (run_dir / "kernel.log").symlink_to(tmp_path / "secret")
    os.mkfifo(run_dir / "jvm.log")

    postmortem.keep(run_dir, "d", {}, a_rule(tmp_path))

    kept = sorted(file.name for file in (tmp_path / "postmortem" / "d").iterdir())
    assert kept == ["agent.log", "end.json"]


def test_no_folder_of_elsewhere_is_taken_for_the_outbox(tmp_path: Path) -> None:
    run_dir = a_folder(tmp_path)
    (run_dir / "outbox").rename(tmp_path / "elsewhere")
    (run_dir / "outbox").symlink_to(tmp_path / "elsewhere")

    assert postmortem.unacknowledged(run_dir) == []


def test_the_code_of_a_cell_that_nobody_took_is_not_kept(tmp_path: Path) -> None:
    run_dir = a_folder(tmp_path)
    cell = {"kind": "cell", "seq": 2, "calculation_id": "c", "code": "my_secret()", "at": 1.0}
    (run_dir / "outbox" / "00000002.json").write_text(json.dumps(cell))

    postmortem.keep(run_dir, "d", {}, a_rule(tmp_path))

    end = json.loads((tmp_path / "postmortem" / "d" / "end.json").read_text())
    assert end["unacknowledged"] == [
        {"kind": "failed", "seq": 1},
        {"kind": "cell", "seq": 2, "calculation_id": "c", "at": 1.0},
    ]


def test_the_oldest_go_first(tmp_path: Path) -> None:
    rule = a_rule(tmp_path, drivers=2)
    for number, name in enumerate(("a", "b", "c")):
        postmortem.keep(a_folder(tmp_path, name), name, {}, rule)
        if (rule.folder / name).exists():
            os.utime(rule.folder / name, (number, number))
    postmortem.prune(rule)
    assert sorted(entry.name for entry in rule.folder.iterdir()) == ["b", "c"]

    postmortem.prune(a_rule(tmp_path, size=postmortem.TAIL_BYTES + 1000))
    assert [entry.name for entry in rule.folder.iterdir()] == ["c"]


def test_the_first_record_stays(tmp_path: Path) -> None:
    run_dir, rule = a_folder(tmp_path), a_rule(tmp_path)
    postmortem.keep(run_dir, "d", {"agent": "first"}, rule)
    postmortem.keep(run_dir, "d", {"agent": "second"}, rule)
    assert "first" in (rule.folder / "d" / "end.json").read_text()


def test_nothing_is_kept_when_nothing_shall_be(tmp_path: Path) -> None:
    postmortem.keep(a_folder(tmp_path), "d", {}, a_rule(tmp_path, drivers=0))
    assert not (tmp_path / "postmortem").exists()

"""Which rules a confinement becomes; that the kernel enforces them is test_secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.agent.confine import Rule, plan
from sparkowl.agent.messages import Confinement


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("data/keys", "data/run/mine", "data/run/theirs", "data/buckets", "open"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "database").touch()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    return tmp_path


def rules(tree: Path, **paths: tuple[str, ...]) -> dict[str, bool]:
    """The planned rules below the tree: path to "may be written"."""
    asked = {
        name: tuple(str(tree / p) for p in paths.get(name, ()))
        for name in ("hidden", "readable", "writable")
    }
    return {
        str(rule.path.relative_to(tree)): rule.writable
        for rule in plan(Confinement(**asked))
        if rule.path.is_relative_to(tree) and rule.path != tree
    }


def test_everything_beside_a_hidden_folder_is_readable(tree: Path) -> None:
    found = rules(tree, hidden=("data",))
    assert found.keys() == {"open"} | {p for p in found if not p.startswith("data")}
    assert not [path for path in found if path.startswith("data")]


def test_on_every_level_down_to_it(tree: Path) -> None:
    found = rules(tree, hidden=("data/keys",))
    assert {"open", "data/run", "data/buckets", "data/database"} <= found.keys()
    assert "data" not in found
    assert "data/keys" not in found


def test_what_lies_deeper_is_allowed_again(tree: Path) -> None:
    found = rules(tree, hidden=("data",), readable=("data/run/mine",), writable=("data/buckets",))
    assert {path: w for path, w in found.items() if path.startswith("data")} == {
        "data/run/mine": False,
        "data/buckets": True,
    }


def test_a_hidden_folder_inside_an_allowed_one_stays_hidden(tree: Path) -> None:
    found = rules(tree, hidden=("data/run/theirs",), writable=("data",))
    assert {"data/run/mine", "data/keys", "data/buckets"} <= {p for p, w in found.items() if w}
    assert not [p for p in found if p in ("data", "data/run", "data/run/theirs")]


def test_a_link_to_a_hidden_folder_opens_nothing(tree: Path) -> None:
    assert "link" not in rules(tree, hidden=("data",))
    assert not [p for p in rules(tree, hidden=("link",)) if p.startswith("data")]


def test_without_anything_hidden_all_can_be_read(tree: Path) -> None:
    found = plan(Confinement(hidden=(), readable=(), writable=()))
    assert Rule(Path("/"), writable=False) in found
    assert Rule(Path("/dev"), writable=True) in found

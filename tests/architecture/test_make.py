"""What the targets of the Makefile ask for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("target", "pays"), [("setup", False), ("demo", False), ("serve", False), ("test", True)]
)
def test_only_who_runs_all_tests_pays_for_the_clients_of_tests(
    tmp_path: Path, target: str, pays: bool
) -> None:
    would = subprocess.run(
        ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "scripts/setup" in would
    assert ("tests/clients/requirements.lock" in would) == pays

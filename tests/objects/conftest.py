"""An empty store in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.objects.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    store = Files(tmp_path / "buckets", tmp_path / "staging")
    store.create_bucket("lake")
    return store

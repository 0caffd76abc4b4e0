"""The server's keys."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sparkowl import credentials


def test_keys_look_like_awss_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = credentials.load_or_create(tmp_path)
    finally:
        os.umask(before)

    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", made.access_key_id)
    assert len(made.secret_access_key) == 40
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_keys_are_made_once(tmp_path: Path) -> None:
    assert credentials.load(tmp_path) is None

    made = credentials.load_or_create(tmp_path)

    assert credentials.load_or_create(tmp_path) == made
    assert credentials.load(tmp_path) == made


def test_servers_that_start_at_once_get_the_same_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: credentials.load_or_create(tmp_path), range(64)))

    assert len(made) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["credentials.json"]


def test_replaced_keys_are_there_whole_and_as_private_as_before(tmp_path: Path) -> None:
    made = credentials.load_or_create(tmp_path)
    before = credentials.stamp(tmp_path)
    new = replace(made, access_key_id="AKIANEW", secret_access_key="new")

    credentials.replace_file(tmp_path, new)

    assert credentials.load(tmp_path) == new
    assert new.key_for("links") == made.key_for("links")
    assert credentials.stamp(tmp_path) != before
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["credentials.json"]


def test_every_purpose_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = credentials.load_or_create(tmp_path)

    assert keys.key_for("links") == keys.key_for("links")
    assert keys.key_for("links") != keys.key_for("paging")

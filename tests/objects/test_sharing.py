"""Buckets that belong to a group: the modes of what is made in them, and of what was there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sparkowl.agent.landing import Landing
from sparkowl.objects.attributes import About
from sparkowl.objects.files import Condition, Files
from sparkowl.objects.sharing import share, unshare

GROUP = 60017
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "buckets", tmp_path / "staging")
    made.create_bucket("lake")
    made.put_bytes("lake", "old/er/one", b"1")
    return made


def modes(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (
            oct(stat.S_IMODE(path.lstat().st_mode)),
            path.lstat().st_gid,
        )
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def test_what_was_there_is_the_groups_afterwards(files: Files) -> None:
    share(files.root, GROUP)

    folder, file = ("0o2770", GROUP), ("0o660", GROUP)
    assert modes(files.root) == {
        "lake": folder,
        "lake/old": folder,
        "lake/old/er": folder,
        "lake/old/er/one": file,
    }
    assert stat.S_IMODE(files.root.stat().st_mode) == 0o2710


def test_what_is_made_later_is_the_groups_from_its_first_moment(files: Files) -> None:
    share(files.root, GROUP)

    files.create_bucket("new-bucket")
    files.put_bytes("new-bucket", "a/b", b"1")
    files.put_bytes("lake", "old/er/two", b"1")
    files.put_bytes("lake", "marker/", b"")
    with files.draft() as draft:
        draft.write(b"1")
        files.commit(draft, "lake", "once", About(), condition=Condition(if_absent=True))

    found = modes(files.root)
    assert {mode for path, mode in found.items() if (files.root / path).is_dir()} == {
        ("0o2770", GROUP)
    }
    assert {mode for path, mode in found.items() if (files.root / path).is_file()} == {
        ("0o660", GROUP)
    }


def test_outputs_that_an_agent_lands_are_the_groups_too(files: Files, tmp_path: Path) -> None:
    share(files.root, GROUP)
    spooled = tmp_path / "stdout"
    spooled.write_text("said")
    spooled.chmod(0o600)

    landing = Landing(files.root / "lake" / "session" / "calculation")
    landing.link(spooled, "stdout")
    landing.copy(spooled, "copy")
    landing.close()

    found = modes(files.root / "lake" / "session")
    assert found == {
        "calculation": ("0o2770", GROUP),
        "calculation/stdout": ("0o660", GROUP),
        "calculation/copy": ("0o660", GROUP),
    }


def test_without_a_group_all_stays_private(files: Files) -> None:
    before = os.umask(0o077)
    try:
        files.put_bytes("lake", "new/one", b"1")
    finally:
        os.umask(before)

    assert modes(files.root / "lake" / "new") == {"one": ("0o600", 0)}
    assert unshare(files.root) is False


def test_a_second_name_of_a_file_elsewhere_opens_nothing(files: Files, tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("secret")
    secret.chmod(0o600)
    os.link(secret, files.root / "lake" / "planted")
    (files.root / "lake" / "soft").symlink_to(secret)
    os.mkfifo(files.root / "lake" / "pipe")

    share(files.root, GROUP)

    assert (stat.S_IMODE(secret.stat().st_mode), secret.stat().st_gid) == (0o600, 0)


def test_a_root_that_is_not_shared_any_more_is_closed(files: Files) -> None:
    share(files.root, GROUP)

    assert unshare(files.root) is True
    assert stat.S_IMODE(files.root.stat().st_mode) == 0o700
    files.create_bucket("later")
    assert (files.root / "later").stat().st_gid == 0

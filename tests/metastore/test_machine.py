"""The metastore's own folder, where it runs as another user than the keeper."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sparkowl.agent.messages import RunAs
from sparkowl.metastore.machine import give


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_the_metastores_user_planted_in_its_folder_gives_it_no_file_of_others(
    tmp_path: Path,
) -> None:
    mine, shadow, folder = tmp_path / "catalog", tmp_path / "shadow", tmp_path / "etc"
    (mine / "derby" / "seg0").mkdir(parents=True)
    (mine / "derby" / "seg0" / "c10.dat").touch()
    folder.mkdir()
    for file in (shadow, folder / "passwd"):
        file.touch()
    (mine / "second-name").hardlink_to(shadow)
    (mine / "link").symlink_to(shadow)
    (mine / "derby" / "log").symlink_to(folder, target_is_directory=True)
    nobody = pwd.getpwnam("nobody")

    give(mine, RunAs(name="nobody", uid=nobody.pw_uid, gid=nobody.pw_gid, groups=()))

    owned = {path.name for path in mine.rglob("*") if path.lstat().st_uid == nobody.pw_uid}
    assert owned == {"derby", "seg0", "c10.dat", "link"}
    assert {path.stat().st_uid for path in (shadow, folder, folder / "passwd")} == {0}

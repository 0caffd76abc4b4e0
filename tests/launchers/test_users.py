"""Which POSIX users drivers may run as, and what the server opens for them."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from sparkowl.launchers import engines, users
from sparkowl.launchers.users import UnusableUser

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def refusal(*names: str, group: str | None = None) -> str:
    with pytest.raises(UnusableUser) as error:
        users.find(names, group)
    return str(error.value)


def test_without_a_user_nothing_is_changed() -> None:
    assert users.find((), "60017") is None


def test_a_user_is_a_member_of_the_buckets_group_and_of_its_own() -> None:
    found = users.find(("nobody",), "60017")

    assert found is not None
    entry = pwd.getpwnam("nobody")
    user = found.by_name["nobody"]
    assert (user.uid, user.gid, found.group) == (entry.pw_uid, entry.pw_gid, 60017)
    assert set(user.groups) == {*os.getgrouplist("nobody", entry.pw_gid), 60017}


def test_a_number_is_as_good_as_a_name() -> None:
    uid = str(pwd.getpwnam("nobody").pw_uid)

    found = users.find((uid,), "60017")

    assert found is not None
    assert found.by_name[uid].name == "nobody"


@pytest.mark.parametrize(
    ("names", "group", "said"),
    [
        (("no-such-user",), "60017", "There is no user no-such-user on this machine."),
        (("3999999",), "60017", "There is no user 3999999 on this machine."),
        (("99999999999999",), "60017", "There is no user 99999999999999 on this machine."),
        (("root",), "60017", "User root is root, from whom nothing can be kept."),
        (("0",), "60017", "User 0 is root, from whom nothing can be kept."),
        (("nobody",), "no-such-group", "driver.group: there is no group no-such-group"),
        (("nobody",), "0", "driver.group: 0 cannot be the buckets' group."),
        (("daemon", "nobody"), None, "a group that daemon and nobody can share"),
    ],
)
def test_what_cannot_be_used_is_named(names: tuple[str, ...], group: str | None, said: str) -> None:
    assert said in refusal(*names, group=group)


def test_a_single_user_with_a_group_of_its_own_needs_no_other() -> None:
    found = users.find(("daemon",), None)

    assert found is not None
    assert found.group == pwd.getpwnam("daemon").pw_gid


def test_the_way_is_open_to_the_group_and_what_lies_beside_it_is_closed(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    engine = data / "engines" / "one"
    for folder in (data, data / "buckets", data / "staging", cache, engine.parent, engine):
        folder.mkdir(mode=0o755)
    (data / "sparkowl.db").touch(mode=0o644)

    users.open_way(data, data / "drivers", (cache, *engines.folders(data)), 60017)

    modes = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in (data, cache, engine, *data.iterdir())
    }
    assert modes == {
        "data": "0o710",
        "cache": "0o711",
        "data/buckets": "0o700",  # objects.sharing opens it
        "data/drivers": "0o710",
        "data/engines": "0o711",
        "data/engines/one": "0o711",
        "data/staging": "0o700",
        "data/sparkowl.db": "0o600",
    }
    assert {data.stat().st_gid, (data / "drivers").stat().st_gid} == {60017}

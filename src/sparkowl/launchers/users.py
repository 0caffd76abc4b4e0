"""POSIX users that drivers run as, and the way they have through the server's folders.

While some user is named, the buckets and the way to them belong to one group, the other folders of
the server stay its own. See ``docs/operators/isolation.md`` for the modes.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sparkowl.agent.messages import RunAs

#: What becoming another user takes, and looking after processes and files that are not ours:
#: chown, dac_override, fowner, kill, setgid, setuid, setpcap, sys_ptrace (linux/capability.h).
_NEEDED: Final = (0, 1, 3, 5, 6, 7, 8, 19)


class UnusableUser(Exception):
    """A user or group of the settings cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Users:
    """Every user that some driver runs as, by the name in the settings."""

    by_name: dict[str, RunAs]
    #: Group of the buckets' files.
    group: int


def find(names: Sequence[str], group: str | None) -> Users | None:
    """The users of these names, each a member of the buckets' group; None where none is named."""
    if not names:
        return None
    reason = why_not_switch()
    if reason is not None:
        raise UnusableUser(f"Drivers cannot run as user {names[0]}: {reason}")
    found = {name: _find(name) for name in names}
    shared = _group(group) if group is not None else _own_group(found)
    return Users(
        {
            name: replace(user, groups=tuple(sorted({*user.groups, shared})))
            for name, user in found.items()
        },
        shared,
    )


def why_not_switch() -> str | None:
    """Why this process cannot start drivers as another user; None: it can."""
    if os.geteuid() != 0:
        return "the server does not run as root."
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    if any(not effective >> number & 1 for number in _NEEDED):
        return (
            "the server runs as root, but without the capabilities that it takes (chown, "
            "dac_override, fowner, kill, setgid, setuid, setpcap, sys_ptrace)."
        )
    return None


def _find(name: str) -> RunAs:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError) as error:
        # A number alone is not enough: Hadoop asks for its name, and fails without one.
        raise UnusableUser(f"There is no user {name} on this machine.") from error
    if entry.pw_uid == 0:
        raise UnusableUser(f"User {name} is root, from whom nothing can be kept.")
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if 0 in groups:
        raise UnusableUser(f"User {name} is in the group root, which is the server's own.")
    return RunAs(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(groups))


def _group(name: str) -> int:
    try:
        number = int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UnusableUser(f"driver.group: there is no group {name} on this machine.") from error
    if not 0 < number < 2**32 - 1:
        raise UnusableUser(f"driver.group: {name} cannot be the buckets' group.")
    return number


def _own_group(found: dict[str, RunAs]) -> int:
    """The group of the only user, if it is that user's alone."""
    users = {user.uid: user for user in found.values()}
    if len(users) == 1:
        [user] = users.values()
        try:
            group = grp.getgrgid(user.gid)
        except KeyError:
            return user.gid
        if group.gr_name == user.name and set(group.gr_mem) <= {user.name}:
            return user.gid
    raise UnusableUser(
        f"The buckets' files need a group that {' and '.join(sorted(found))} can share, and that "
        "nobody else is in: name one, or a free number, as driver.group."
    )


def open_way(data_dir: Path, drivers_dir: Path, passable: Sequence[Path], group: int) -> None:
    """Let the group through to the drivers' folders and the buckets, and to nothing else.

    ``passable`` folders hold nothing of anybody's: class-data archives, engines' environments.

    What lies in the data directory itself is closed first: until now its own mode hid it.
    """
    for entry in data_dir.iterdir():
        if not entry.is_symlink():
            entry.chmod(entry.stat().st_mode & 0o7700)
    drivers_dir.mkdir(mode=0o700, exist_ok=True)
    for folder in (drivers_dir, data_dir):
        os.chown(folder, -1, group)
        folder.chmod(0o710)
    for folder in passable:
        if folder.is_dir():
            folder.chmod(0o711)

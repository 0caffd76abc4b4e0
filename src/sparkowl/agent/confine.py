"""What a driver's user code can reach: a POSIX user of its own, and Landlock, the kernel's own
sandbox for anyone. Either holds without the other.

Landlock is a list of what is allowed: to hide a folder, everything beside it, on each level from
``/`` down, is allowed one by one (:func:`plan`). The rules are made before the fork and put in
force between fork and exec, so that the kernel, the JVM and whatever they start are all inside.

Not hidden by it: the network, and what another user's permissions protect anyway.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sparkowl.agent import seccomp
from sparkowl.agent.messages import Confinement, RunAs

# linux/landlock.h. Numbers of rights, by what introduced them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_OF_ABI: Final = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
#: The only rights that a rule on something that is not a folder may hold.
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
#: The version that can do that: Linux 6.12.
_SCOPES_SINCE: Final = 6

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAPBSET_DROP: Final = 24
_libc: Final = ctypes.CDLL(None, use_errno=True)

#: Chown, dac_override, fowner, fsetid: what root needs to work with files. With the others
#: (perfmon, sys_ptrace, dac_read_search, sys_admin) root could still look into other processes.
_KEPT_CAPABILITIES: Final = frozenset({0, 1, 3, 4})
_LAST_CAPABILITY: Final = 63

#: Always writable, besides what the driver's spec names.
_SCRATCH: Final = ("/tmp", "/dev")  # noqa: S108 - the folder itself is meant


@dataclass(frozen=True, slots=True)
class Rule:
    path: Path
    writable: bool


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    version: int = _libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(version, 0)


def plan(confinement: Confinement) -> list[Rule]:
    """What to allow. Of two paths that disagree, the deeper one decides.

    A folder that holds something hidden cannot itself be listed or written to by these rules:
    Landlock allows a folder only with everything beneath it.
    """
    hidden = [Path(os.path.realpath(path)) for path in confinement.hidden]
    rules = list(_around(Path("/"), hidden, writable=False))
    for path in (*confinement.readable, *confinement.writable, *_SCRATCH):
        allowed = Path(os.path.realpath(path))
        if path in _SCRATCH and any(allowed.is_relative_to(h) for h in hidden):
            continue
        deeper = [h for h in hidden if h != allowed]
        writable = path not in confinement.readable
        rules += _around(allowed, [h for h in deeper if h.is_relative_to(allowed)], writable)
    return rules


def _around(path: Path, hidden: Sequence[Path], writable: bool) -> Iterator[Rule]:
    """Rules for ``path`` with everything beneath it, but for the hidden paths."""
    if path in hidden:
        return
    if not any(h.is_relative_to(path) for h in hidden):
        yield Rule(path, writable)
        return
    try:
        children = sorted(path.iterdir())
    except OSError:  # cannot be listed, so it holds nothing that could be allowed
        return
    for child in children:
        # A link needs no rule: what it points to is judged by where it really is.
        if not child.is_symlink():
            yield from _around(child, hidden, writable)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A confinement, ready to be put in force in a child."""

    #: ``landlock v7``, ``landlock v7, user etl``, ``user etl, no landlock: <why>``, or
    #: ``none: <why>``.
    isolation: str
    ruleset: int | None = None
    run_as: RunAs | None = None
    #: Landlock keeps signals inside.
    scopes_signals: bool = False

    @property
    def enter(self) -> Callable[[], None]:
        """To be called in the child, between fork and exec."""
        ruleset, run_as = self.ruleset, self.run_as
        if ruleset is None and run_as is None:
            return lambda: None
        # Landlock has no rule that would let a file of elsewhere be linked into a bucket.
        unguarded = ruleset is None and not seccomp.links_are_guarded()
        filter_calls = seccomp.prepare(
            refuse_links=unguarded,
            unreachable=() if self.scopes_signals else (os.getpid(), os.getppid()),
        )

        def enter() -> None:
            # An exception here becomes a failed start: never run user code less confined than
            # promised.
            _drop_capabilities(frozenset() if run_as else _KEPT_CAPABILITIES)
            if run_as is not None:
                _become(run_as)
            _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
            if ruleset is not None:
                _check(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
            filter_calls()

        return enter

    def close(self) -> None:
        if self.ruleset is not None:
            os.close(self.ruleset)


def prepare(confinement: Confinement | None, run_as: RunAs | None = None) -> Sandbox:
    """The sandbox for a confinement, as far as this kernel has one, and for a user."""
    reason = unavailable() if confinement is not None else "turned off by the operator"
    if confinement is None or reason is not None:
        none = f"user {run_as.name}, no landlock" if run_as else "none"
        return Sandbox(f"{none}: {reason}", run_as=run_as)
    version = abi()
    isolation = f"landlock v{version}" + (f", user {run_as.name}" if run_as else "")
    ruleset = _make_ruleset(plan(confinement), version)
    return Sandbox(isolation, ruleset, run_as, scopes_signals=version >= _SCOPES_SINCE)


def signals() -> str:
    """How far signals reach from inside, in words; empty where Landlock keeps them inside."""
    if unavailable() is None and abi() >= _SCOPES_SINCE:
        return ""
    return "signals reach other sessions of the same user (Linux 6.12 keeps them inside)"


def unavailable() -> str | None:
    """Why there is no confinement on this machine; None when there is."""
    match abi():
        case 0:
            return "the kernel has no Landlock (Linux 5.13 and newer, enabled at boot)"
        case 1:
            # It forbids every rename between folders, which is how Spark commits its files.
            return "the kernel's Landlock is too old (Linux 5.19 and newer)"
        case _:
            return None


def _make_ruleset(rules: Sequence[Rule], version: int) -> int:
    handled = _ALL_OF_ABI[max(v for v in _ALL_OF_ABI if v <= version)]
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPES_SINCE else 0
    attr = _RulesetAttr(handled, 0, scoped)
    size = ctypes.sizeof(attr) if version >= _SCOPES_SINCE else 8
    ruleset: int = _libc.syscall(_CREATE_RULESET, ctypes.byref(attr), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset failed")
    for rule in rules:
        _add(ruleset, rule, handled)
    return ruleset


def _add(ruleset: int, rule: Rule, handled: int) -> None:
    try:
        parent = os.open(rule.path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # gone since, or never there: nothing to allow
        return
    try:
        access = handled if rule.writable else handled & _READ
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= _OF_FILES
        attr = _PathBeneathAttr(access, parent)
        added = _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(attr), 0)
        if added < 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule failed for {rule.path}")
    finally:
        os.close(parent)


def _drop_capabilities(kept: frozenset[int]) -> None:
    for capability in set(range(_LAST_CAPABILITY + 1)) - kept:
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # not root: nothing to drop, no effect


def _become(run_as: RunAs) -> None:
    """Groups first: with the user goes the right to change them."""
    os.setgroups(run_as.groups)
    os.setresgid(run_as.gid, run_as.gid, run_as.gid)
    os.setresuid(run_as.uid, run_as.uid, run_as.uid)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what} failed")

"""Processes on this machine: children that cannot outlive us, and what they leave behind.

Linux only, through ``prctl`` and ``/proc``. What runs in the children is not decided here.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sparkowl.agent.signs import as_in_proc, mark_of

#: asm-generic/resource.h; Python's module does not name it.
_RLIMIT_LOCKS: Final = 10
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none gets lost."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def first_to_go(adjustment: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Give up what protects the server where the machine has no memory left (OOMScoreAdjust= of
    systemd): a driver inherits it, and would be spared before every other program as well."""
    with suppress(OSError, ValueError):
        if int(adjustment.read_text()) < 0:
            adjustment.write_text("0")


def mark(folder: Path) -> None:
    """Mark this process, and with it all that come from it, as the driver's that has this folder.

    Unlike a variable of the environment, a hard limit cannot be raised again by whoever inherits
    it, and :mod:`.seccomp` keeps it from being lowered. The kernel itself ignores this one since
    Linux 2.4. Where a lower one is set already, nothing is marked.
    """
    value = mark_of(folder)
    with suppress(ValueError, OSError):
        resource.setrlimit(_RLIMIT_LOCKS, (value, value))


def joining(group: str | None) -> Callable[[], None]:
    """To be called in a child between fork and exec: puts it into a control group."""
    if group is None:
        return lambda: None
    file = f"{group}/cgroup.procs"

    def in_child() -> None:
        members = os.open(file, os.O_WRONLY)
        os.write(members, b"0\n")  # whoever writes it
        os.close(members)

    return in_child


def dying_with_parent() -> Callable[[], None]:
    """To be called in a child between fork and exec: the kernel kills it when we die.

    Fork from the main thread only: the signal is sent when the *thread* that forked ends.
    """
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # died before the line above
            os._exit(1)

    return in_child


def spawn(  # noqa: PLR0913 - a child is all of these, and each differs between kernel and JVM
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    confine: Callable[[], None],
    umask: int,
    stdin: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in its own session that the kernel kills when this process dies."""
    die_with_parent = dying_with_parent()

    def between_fork_and_exec() -> None:
        confine()
        # Afterwards: the kernel forgets it when a process becomes another user.
        die_with_parent()

    with log.open("ab") as sink:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=umask,
            pass_fds=pass_fds,
            # Safe here: what runs there takes no lock that another thread may hold.
            preexec_fn=between_fork_and_exec,
        )


def tagged(driver_id: str, folder: Path) -> Iterator[int]:
    """Ids of the living processes that carry the driver's mark, or its tag and folder, this one
    included."""
    wanted = as_in_proc(driver_id, folder)
    limit = f" {mark_of(folder)} ".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if limit in (entry / "limits").read_bytes() or wanted <= set(
                    (entry / "environ").read_bytes().split(b"\0")
                ):
                    yield int(entry.name)


def descendants() -> Iterator[int]:
    """Ids of all processes below this one (orphans come back to us: :func:`adopt_orphans`)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The second field is the name in brackets, and may itself hold brackets.
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        yield from children
        waiting += children


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_leftovers(driver_id: str, folder: Path, spared: Collection[int] = ()) -> int:
    """Kill everything of this driver but ourselves and the ``spared``; how many there were.

    By descent, and by tag: user code can clear its environment, but it cannot leave our subtree.
    Repeated, because a process that forks meanwhile is missed by one pass.
    """
    killed = 0
    for _ in range(5):
        left = {*descendants(), *tagged(driver_id, folder)} - {os.getpid(), *spared}
        living = {pid for pid in left if not is_zombie(pid)}
        if not living:
            break
        for pid in living:
            kill(pid)
        killed += len(living)
    return killed


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def how_it_ended(returncode: int) -> str:
    """The end of a process as words: "was killed by signal 9", "exited with status 3"."""
    if returncode < 0:
        return f"was killed by signal {-returncode}"
    return f"exited with status {returncode}"

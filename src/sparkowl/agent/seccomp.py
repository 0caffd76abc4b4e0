"""What Landlock has no rule for: a seccomp filter on the calls that reach into other processes.

A process of the same user may take away another's file descriptors, processor time or priority,
and none of that is a file. The filter refuses these calls for any process but the caller's own, and
a few that no user code needs and that reach past the sandbox (as container runtimes refuse them).
All else is untouched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class _Machine:
    """linux/audit.h's number of an architecture, and its system calls' (asm/unistd.h)."""

    architecture: int
    #: Calls whose first argument is a process, 0 being the caller.
    of_process: tuple[int, ...]
    #: Calls whose first argument says what the second one names: a process, a group, or a *user*,
    #: which would be every session. Each with the value that says "user".
    of_kind: tuple[tuple[int, int], ...]
    #: sched_setscheduler. Libraries set their threads, by number, to the ordinary policy, and abort
    #: when they may not; no filter can tell whose thread it is, and it does a stranger no harm.
    scheduler: int
    refused: tuple[int, ...]
    #: Calls whose first argument is whom a signal is for: kill, tkill, tgkill, rt_sigqueueinfo,
    #: rt_tgsigqueueinfo, and pidfd_open, which begins another way to send one.
    signalling: tuple[int, ...]
    set_limit: int
    #: prlimit64, which also only reads, where it is given no new limit.
    limit: int
    #: Numbers from here on are another way to make the same calls (x32); 0: there is none.
    other_way_from: int = 0


_PRIO_USER, _IOPRIO_WHO_USER, _SCHED_OTHER = 2, 3, 0
_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        # prlimit64, sched_setparam, sched_setaffinity, sched_setattr, migrate_pages, move_pages
        (302, 142, 203, 314, 256, 279),
        ((141, _PRIO_USER), (251, _IOPRIO_WHO_USER)),  # setpriority, ioprio_set
        144,
        # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, kcmp, pidfd_getfd,
        # io_uring_setup, io_uring_enter, io_uring_register
        (248, 249, 250, 298, 321, 323, 312, 438, 425, 426, 427),
        (62, 200, 234, 129, 297, 434),
        160,
        302,
        0x40000000,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (261, 118, 122, 274, 238, 239),
        ((140, _PRIO_USER), (30, _IOPRIO_WHO_USER)),
        119,
        (217, 218, 219, 241, 280, 282, 272, 438, 425, 426, 427),
        (129, 130, 131, 138, 240, 434),
        164,
        261,
    ),
}
#: link and linkat, refused where :func:`links_are_guarded` says that nothing else does.
_LINKS: Final = {"x86_64": (86, 265), "aarch64": (37,)}

# linux/bpf_common.h and linux/seccomp.h.
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
#: Where seccomp_data has what: the number, the architecture, the lower halves of three arguments,
#: and of the third also the upper.
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_AT, _SECOND_AT = 0, 4, 16, 24
_THIRD_AT, _THIRD_ABOVE_AT = 32, 36
#: asm-generic/resource.h: see :func:`sparkowl.agent.processes.mark`.
_RLIMIT_LOCKS: Final = 10
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def prepare(*, refuse_links: bool = False, unreachable: Sequence[int] = ()) -> Callable[[], None]:
    """What puts the filter in force: for between fork and exec, after no_new_privs is set.

    ``unreachable`` are processes that shall get no signal, nor their groups, nor "everybody": for
    where Landlock does not see to it. Other sessions' processes are not known, so not among them.
    On a machine whose system call numbers are not known here it does nothing.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return lambda: None
    links = _LINKS[platform.machine()] if refuse_links else ()
    written = _instructions(machine, (*machine.refused, *links), unreachable)
    program = _Program(len(written), (_Instruction * len(written))(*written))

    def enter() -> None:
        if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return enter


def links_are_guarded() -> bool:
    """Whether the machine itself refuses hard links to files that the caller cannot write.

    Most do. Where it does not, a link in a bucket to any file at all would have the S3 door, which
    runs as the server, hand that file out.
    """
    try:
        with open("/proc/sys/fs/protected_hardlinks") as setting:  # noqa: PTH123 - small module
            return setting.read().strip() == "1"
    except OSError:
        return False


def _instructions(
    machine: _Machine, refused: Sequence[int], unreachable: Sequence[int]
) -> list[_Instruction]:
    """Call by call; each block ends in a return or falls through to the next."""
    refuse, allow = _Instruction(_RETURN, 0, 0, _REFUSE), _Instruction(_RETURN, 0, 0, _ALLOW)
    load_number = _Instruction(_LOAD, 0, 0, _NUMBER_AT)
    lines = [
        # A 32-bit program has other numbers for the same calls.
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, machine.architecture),
        refuse,
        load_number,
    ]
    if machine.other_way_from:
        lines += [_Instruction(_JUMP_IF_AT_LEAST, 0, 1, machine.other_way_from), refuse]
    for number in refused:
        lines += [_Instruction(_JUMP_IF_EQUAL, 0, 1, number), refuse]
    # The driver's mark: to lower this limit would be to hide. To read it is everybody's right.
    lines += [
        _Instruction(_JUMP_IF_EQUAL, 0, 4, machine.set_limit),
        _Instruction(_LOAD, 0, 0, _FIRST_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, _RLIMIT_LOCKS),
        refuse,
        load_number,
        _Instruction(_JUMP_IF_EQUAL, 0, 8, machine.limit),
        _Instruction(_LOAD, 0, 0, _SECOND_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 5, _RLIMIT_LOCKS),
        _Instruction(_LOAD, 0, 0, _THIRD_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 2, 0),
        _Instruction(_LOAD, 0, 0, _THIRD_ABOVE_AT),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, 0),
        refuse,
        load_number,
    ]
    if unreachable:
        # As the kernel has them: 32 bits, a group as the negative of its leader, -1 for everybody.
        targets = [value % (1 << 32) for pid in unreachable for value in (pid, -pid)]
        for number in machine.signalling:
            lines += [
                _Instruction(_JUMP_IF_EQUAL, 0, 2 * len(targets) + 4, number),
                _Instruction(_LOAD, 0, 0, _FIRST_AT),
            ]
            for target in (*targets, (1 << 32) - 1):
                lines += [_Instruction(_JUMP_IF_EQUAL, 0, 1, target), refuse]
            lines += [allow]
    for number in machine.of_process:
        lines += [
            _Instruction(_JUMP_IF_EQUAL, 0, 4, number),
            _Instruction(_LOAD, 0, 0, _FIRST_AT),
            # Zero is the caller itself, which is how the C library reads a process's own limits.
            _Instruction(_JUMP_IF_EQUAL, 0, 1, 0),
            allow,
            refuse,
        ]
    for number, user in machine.of_kind:
        lines += [
            _Instruction(_JUMP_IF_EQUAL, 0, 6, number),
            _Instruction(_LOAD, 0, 0, _FIRST_AT),
            _Instruction(_JUMP_IF_EQUAL, 3, 0, user),
            _Instruction(_LOAD, 0, 0, _SECOND_AT),
            _Instruction(_JUMP_IF_EQUAL, 0, 1, 0),
            allow,
            refuse,
        ]
    lines += [
        _Instruction(_JUMP_IF_EQUAL, 0, 6, machine.scheduler),
        _Instruction(_LOAD, 0, 0, _FIRST_AT),
        _Instruction(_JUMP_IF_EQUAL, 2, 0, 0),
        _Instruction(_LOAD, 0, 0, _SECOND_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, _SCHED_OTHER),
        allow,
        refuse,
    ]
    return [*lines, allow]

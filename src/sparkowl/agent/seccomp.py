"""What Landlock has no rule for: changing another process's resource limits.

``prlimit`` lets a process of the same user take away the server's file descriptors or its processor
time. A seccomp filter refuses it for any process but the caller's own; all else is untouched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from typing import Final

# linux/audit.h and the system call tables: machine to (architecture, number of prlimit64).
_MACHINES: Final = {"x86_64": (0xC000003E, 302), "aarch64": (0xC00000B7, 261)}

# linux/bpf_common.h and linux/seccomp.h.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
#: Where seccomp_data has what: the number, the architecture, the lower half of the first argument.
_NUMBER_AT, _ARCHITECTURE_AT, _PID_AT = 0, 4, 16
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


def prepare() -> Callable[[], None]:
    """What puts the filter in force: for between fork and exec, after no_new_privs is set.

    On a machine whose system call numbers are not known here it does nothing.
    """
    numbers = _MACHINES.get(platform.machine())
    if numbers is None:
        return lambda: None
    architecture, prlimit = numbers
    instructions = (_Instruction * 8)(
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 5, architecture),
        _Instruction(_LOAD, 0, 0, _NUMBER_AT),
        _Instruction(_JUMP_IF_EQUAL, 0, 3, prlimit),
        _Instruction(_LOAD, 0, 0, _PID_AT),
        # Zero is the caller itself, which is how the C library reads a process's own limits.
        _Instruction(_JUMP_IF_EQUAL, 1, 0, 0),
        _Instruction(_RETURN, 0, 0, _REFUSE),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), instructions)

    def enter() -> None:
        if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return enter

"""Whose a TCP connection of this machine is: the kernel says it in ``/proc/net/tcp``."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ESTABLISHED: Final = "01"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def owner(connection: socket.socket) -> int | None:
    """The POSIX user of the other end of a loopback connection over IPv4.

    None when it cannot be told: the other end is gone already, or on another machine.
    """
    theirs, ours = connection.getpeername(), connection.getsockname()
    # Java dials IPv4 through sockets of IPv6, which are in the other table.
    wanted = {(_plain(theirs), _plain(ours)), (_mapped(theirs), _mapped(ours))}
    for fields in _rows():
        local, remote, state, user, inode = fields[1], fields[2], fields[3], fields[7], fields[9]
        # One that nobody holds any more is shown as root's.
        if (local, remote) in wanted and state == _ESTABLISHED and inode != "0":
            return int(user)
    return None


def _rows() -> Iterator[list[str]]:
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        yield from (line.split() for line in lines)


def _hex(packed: bytes) -> str:
    """As the kernel prints an address: each four bytes as a number of this machine's order."""
    count = len(packed) // 4
    order = "<" if sys.byteorder == "little" else ">"
    return "".join(f"{word:08X}" for word in struct.unpack(f"{order}{count}I", packed))


def _plain(address: tuple[str, int]) -> str:
    return f"{_hex(socket.inet_aton(address[0]))}:{address[1]:04X}"


def _mapped(address: tuple[str, int]) -> str:
    packed = bytes(10) + b"\xff\xff" + socket.inet_aton(address[0])
    return f"{_hex(packed)}:{address[1]:04X}"

"""CRC-32C and CRC-64/NVME, which the standard library lacks and S3 clients send with every body.

A CRC is the remainder of a division of polynomials over GF(2). Byte by byte with a table, Python
manages some 15 MB/s, and a part of an upload has 8 MB or more. So the division is done in digits
of many bytes, with whole integers: squaring a polynomial over GF(2) only doubles its exponents, so
P(x)^(2^k), which P divides, has as few terms as P itself, 2^k places apart. To divide by it is to
XOR the leading digit, of 2^k bits, into a handful of later ones; what is left is 64 digits long,
and is divided again in digits of half the size, until a table does the rest. That is some 250 to
300 MB/s, against 15 for the table, in a thread and with no dependency.

Both CRCs are reflected: the first bit of a byte is its lowest, which is the order of a
little-endian integer.
"""

from __future__ import annotations

from functools import cache
from typing import Final

#: At this size the table takes over. Found by trial; anything from 512 bytes to 4 KiB is as good.
_TABLE_BYTES: Final = 1024


class Crc:
    """A running CRC. The interface is that of :mod:`hashlib`, as far as it is needed."""

    def __init__(self, polynomial: int, width: int) -> None:
        """``polynomial`` as it is usually written, highest power first, without the leading one."""
        self._width = width
        self._ones = (1 << width) - 1
        self._state = self._ones
        self._table = _table(polynomial, width)
        # Distance from a digit to those that it is folded into: a term x^e lies width - e further.
        self._taps = tuple(width - power for power in range(width) if polynomial >> power & 1)

    def update(self, block: bytes) -> None:
        """Take in further bytes."""
        if len(block) >= _TABLE_BYTES:
            block = self._folded(self._continued(block))
        self._divide(block)

    def digest(self) -> bytes:
        """Big-endian, as S3 has it in base 64."""
        return (self._state ^ self._ones).to_bytes(self._width // 8, "big")

    def _divide(self, data: bytes) -> None:
        state, table = self._state, self._table
        for byte in data:
            state = table[(state ^ byte) & 0xFF] ^ state >> 8
        self._state = state

    def _continued(self, block: bytes) -> bytes:
        # Mixing the state into the first bytes and starting from zero is continuing from it.
        size = self._width // 8
        head = int.from_bytes(block[:size], "little") ^ self._state
        self._state = 0
        return head.to_bytes(size, "little") + block[size:]

    def _folded(self, data: bytes) -> bytes:
        """Shorter bytes with the same remainder."""
        size = 1 << ((len(data) // (self._width + 1)).bit_length() - 1)
        while size >= self._width // 8 and len(data) > _TABLE_BYTES:
            data = self._fold(data, size)
            size //= 2
        return data

    def _fold(self, data: bytes, size: int) -> bytes:
        # The last digits have no full width of others behind them, and stay for the next round.
        count = len(data) // size
        digits = [
            int.from_bytes(data[at : at + size], "little") for at in range(0, count * size, size)
        ]
        first = count - self._width
        for index in range(first):
            digit = digits[index]
            for tap in self._taps:
                digits[index + tap] ^= digit
        rest = b"".join(digit.to_bytes(size, "little") for digit in digits[first:])
        return rest + data[count * size :]


def crc32c() -> Crc:
    """Castagnoli's polynomial, RFC 3720."""
    return Crc(0x1EDC6F41, 32)


def crc64nvme() -> Crc:
    """The polynomial of the NVM Express command set, as AWS names it."""
    return Crc(0xAD93D23594C93659, 64)


@cache
def _table(polynomial: int, width: int) -> tuple[int, ...]:
    reflected = int(f"{polynomial:0{width}b}"[::-1], 2)
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (reflected if value & 1 else 0)
        table.append(value)
    return tuple(table)

"""The two CRCs that the standard library lacks, and zlib's as the judge of the method."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.s3.crc import Crc, crc32c, crc64nvme


def computed(crc: Crc, data: bytes, cuts: list[int]) -> str:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        crc.update(data[start:end])
    return crc.digest().hex()


def test_check_values_are_those_of_the_catalogue() -> None:
    assert computed(crc32c(), b"123456789", []) == "e3069283"
    assert computed(crc64nvme(), b"123456789", []) == "ae8b14860a799888"
    assert computed(crc32c(), b"", []) == "00000000"


def test_the_test_patterns_of_rfc_3720_hold() -> None:
    # Section B.4, as big-endian numbers.
    assert computed(crc32c(), bytes(32), []) == "8a9136aa"
    assert computed(crc32c(), b"\xff" * 32, []) == "62a8ab43"
    assert computed(crc32c(), bytes(range(32)), []) == "46dd794e"


@given(
    size=st.integers(0, 70_000),
    cuts=st.lists(st.integers(0, 70_000), max_size=3),
    seed=st.integers(0, 9),
)
def test_any_size_in_any_pieces_agrees_with_zlib(size: int, cuts: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    assert computed(Crc(0x04C11DB7, 32), data, cuts) == f"{zlib.crc32(data):08x}"


@pytest.mark.parametrize("new", [crc32c, crc64nvme])
@pytest.mark.parametrize("size", [1023, 1024, 1025, 4096, 100_003, 1 << 20])
def test_large_blocks_agree_with_small_ones(new: Callable[[], Crc], size: int) -> None:
    data = random.Random(size).randbytes(size)
    # Pieces below the block size go through the table alone.
    assert computed(new(), data, []) == computed(new(), data, list(range(0, size, 1000)))

"""NextTokens: opaque, signed, and good for one list only."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain.errors import InvalidRequest
from sparkowl.operations.paging import Pages

KEY = b"k" * 32
ROWS = list(range(25))


def page(request: Mapping[str, Any], *, operation: str = "List", key: bytes = KEY) -> Any:
    return Pages(key, operation, request, 10).page(
        lambda after, limit: [row for row in ROWS if after is None or row > after][:limit],
        lambda row: row,
    )


@given(st.integers(1, 30))
def test_the_pages_together_are_the_list(size: int) -> None:
    seen: list[int] = []
    token = None

    while True:
        request = {"MaxResults": size} | ({} if token is None else {"NextToken": token})
        rows, token = page(request)
        assert len(rows) <= size
        seen += rows
        if token is None:
            break

    assert seen == ROWS


def test_a_last_page_that_is_full_has_no_token() -> None:
    _, token = page({"MaxResults": 20})

    rows, last = page({"MaxResults": 5, "NextToken": token})

    assert (rows, last) == (ROWS[20:], None)


def test_the_next_page_may_have_another_size() -> None:
    _, token = page({"MaxResults": 3})

    rows, _ = page({"NextToken": token})

    assert rows == ROWS[3:13]


@pytest.mark.parametrize(
    "where",
    [
        {"operation": "Other"},
        {"key": b"x" * 32},
    ],
)
def test_a_token_of_another_list_is_refused(where: dict[str, Any]) -> None:
    _, token = page({})

    with pytest.raises(InvalidRequest, match="NextToken"):
        page({"NextToken": token}, **where)


def test_a_token_of_other_filters_is_refused() -> None:
    _, token = page({"StateFilter": "IDLE"})

    with pytest.raises(InvalidRequest, match="NextToken"):
        page({"NextToken": token, "StateFilter": "BUSY"})


@pytest.mark.parametrize("position", range(0, 24, 3))
def test_a_token_with_one_byte_changed_is_refused(position: int) -> None:
    _, token = page({})
    sealed = bytearray(urlsafe_b64decode(token))
    sealed[position % len(sealed)] ^= 1

    with pytest.raises(InvalidRequest, match="NextToken"):
        page({"NextToken": urlsafe_b64encode(sealed).decode()})


@given(st.text())
def test_a_forged_token_is_refused_and_nothing_worse(token: str) -> None:
    with pytest.raises(InvalidRequest, match="NextToken"):
        page({"NextToken": token})

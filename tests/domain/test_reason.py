"""The sentences of ends, and the codes in them."""

from __future__ import annotations

import pytest

from sparkowl.domain.reason import (
    NOT_STARTED,
    TERMINATED,
    UNHEALTHY,
    Code,
    code_in,
    code_of,
    explain,
)


@pytest.mark.parametrize("code", Code)
def test_athenas_sentence_comes_first_and_the_code_is_found_again(code: Code) -> None:
    why = explain(code, "Something [QUITE] else happened.")

    assert why.startswith((TERMINATED, UNHEALTHY))
    assert why.endswith(f" [{code}] Something [QUITE] else happened.")
    assert code_in(why) is code


def test_another_sentence_and_no_detail() -> None:
    assert explain(Code.USER) == f"{TERMINATED} [USER]"
    assert explain(Code.USER, "No.", sentence=NOT_STARTED) == f"{NOT_STARTED} [USER] No."


@pytest.mark.parametrize("reason", [None, "", "Session waits for capacity.", "[NONSENSE]"])
def test_a_reason_without_a_code(reason: str | None) -> None:
    assert code_in(reason) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [("MEMORY", Code.MEMORY), ("memory", Code.CRASH), ("", Code.CRASH), (None, Code.CRASH),
     ("'; --", Code.CRASH)],
)  # fmt: skip
def test_a_name_that_is_not_known_is_a_crash(name: str | None, code: Code) -> None:
    assert code_of(name) is code

"""A client that sends what nobody understands cannot fill the log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.http.browser import notebook
from websockets.exceptions import InvalidStatus

from sparkowl.http.complaints import Seldom


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    about = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, message, (), about)


def test_of_many_complaints_one_is_written_and_the_next_says_how_many_there_were() -> None:
    time = Time()
    seldom = Seldom(time)

    assert [seldom.filter(record("odd")) for _ in range(5)] == [True] + [False] * 4
    time.now = 9.9
    assert not seldom.filter(record("odd"))
    time.now = 10
    later = record("odd")
    assert seldom.filter(later)
    assert vars(later)["not_logged"] == 5


def test_other_complaints_are_not_held_back() -> None:
    seldom = Seldom(Time())

    assert seldom.filter(record("odd"))
    assert seldom.filter(record("worse"))
    assert seldom.filter(record("broke", ValueError()))
    assert seldom.filter(record("broke", KeyError()))
    assert not seldom.filter(record("broke", KeyError()))


def test_calls_that_the_stop_cut_short_are_no_errors() -> None:
    assert not Seldom(Time()).filter(record("broke", asyncio.CancelledError()))


def test_an_upgrade_that_is_refused_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with notebook(tmp_path) as (browser, _):
        for _ in range(3):
            with pytest.raises(InvalidStatus) as refused, browser.socket():
                pass
            assert refused.value.response.status_code == 403

    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []

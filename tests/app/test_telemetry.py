"""Log lines."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress

import pytest

from sparkowl import telemetry


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("sparkowl.store", logging.INFO, __file__, 1, message, (), None)
    vars(made).update(fields)
    return made


@pytest.mark.parametrize("formatter", [telemetry.TextFormatter, telemetry.JsonFormatter])
def test_a_line_has_the_message_the_fields_and_the_request(
    formatter: type[logging.Formatter],
) -> None:
    with telemetry.request("r-1"):
        line = formatter().format(record("session changed", session="s", state="IDLE"))

    assert all(part in line for part in ("session changed", "store", "INFO", "IDLE", "r-1"))


def test_a_callers_text_cannot_write_a_line_of_its_own() -> None:
    line = telemetry.TextFormatter().format(record("call", operation="x\r\n2026 INFO forged"))

    assert line.count("\n") == 0
    assert "x\\r\\n2026 INFO forged" in line


def test_a_json_line_is_one_object() -> None:
    line = telemetry.JsonFormatter().format(record("call", operation="a\nb", odd={1}))

    assert json.loads(line)["operation"] == "a\nb"
    assert "\n" not in line


@pytest.mark.parametrize("formatter", [telemetry.TextFormatter, telemetry.JsonFormatter])
def test_an_exception_is_shown_where_there_is_one(formatter: type[logging.Formatter]) -> None:
    made = record("failed")
    with suppress(LookupError):
        try:
            _ = os.environ["NO_SUCH_NAME"]
        finally:
            made.exc_info = sys.exc_info()
    without = record("failed", exc_info=False)  # as asyncio says it

    assert "KeyError: 'NO_SUCH_NAME'" in formatter().format(made)
    assert "KeyError" not in formatter().format(without)


def test_nothing_of_a_request_is_left_after_it() -> None:
    with telemetry.request("r-1"):
        pass

    assert "r-1" not in telemetry.TextFormatter().format(record("later"))

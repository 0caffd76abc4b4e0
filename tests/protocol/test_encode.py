"""Answers: what we write, botocore reads as it was meant."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.parsers import create_parser
from hypothesis import HealthCheck, given, settings
from tests.protocol.shapes import fitting

from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model
from sparkowl.protocol.encode import encode, encode_error


def read(body: bytes, operation: str, status: int = 200) -> dict[str, Any]:
    """The answer as a client sees it."""
    answer = {"status_code": status, "headers": {}, "body": body}
    parsed = create_parser("json").parse(answer, model.operations()[operation].output_shape)
    assert isinstance(parsed, dict)
    parsed.pop("ResponseMetadata")
    return parsed


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_we_write_botocore_reads_as_it_was_meant(name: str) -> None:
    operation = model.operations()[name]

    @settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
    @given(fitting(operation.output_shape))
    def check(output: dict[str, Any]) -> None:
        assert read(encode(operation, output), name) == output

    check()


def test_members_without_a_value_are_left_out() -> None:
    body = encode(model.operations()["ListSessions"], {"Sessions": [], "NextToken": None})

    assert json.loads(body) == {"Sessions": []}


def test_a_timestamp_is_a_number_of_seconds_with_milliseconds() -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
    output = {"WorkGroup": {"Name": "spark", "CreationTime": at}}

    body = encode(model.operations()["GetWorkGroup"], output)

    assert json.loads(body)["WorkGroup"]["CreationTime"] == 1767225600.123


@pytest.mark.parametrize(
    "output",
    [
        {"SessionId": 7},
        {"State": None, "SessionID": "misspelled"},
    ],
)
def test_an_answer_that_does_not_fit_the_model_never_goes_out(output: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        encode(model.operations()["StartSession"], output)


def test_an_operation_with_an_empty_output_answers_an_empty_object() -> None:
    assert encode(model.operations()["DeleteWorkGroup"], {}) == b"{}"


def test_boto_finds_the_code_and_the_members_of_an_error() -> None:
    body = encode_error("InvalidRequestException", "Nö.", {"AthenaErrorCode": "INVALID_INPUT"})

    error = read(body, "GetSession", 400)

    assert error["Error"] == {"Message": "Nö.", "Code": "InvalidRequestException"}
    assert json.loads(body)["AthenaErrorCode"] == "INVALID_INPUT"

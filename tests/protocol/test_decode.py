"""Requests: botocore writes them and we read the same; whatever else comes is an InvalidRequest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.model import OperationModel, Shape
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.protocol.shapes import JSON, fitting, nearly

from sparkowl.domain.errors import InvalidRequest, UnknownOperation
from sparkowl.protocol import model
from sparkowl.protocol.decode import Call, decode, operation_of

NAMES = sorted(model.operations())
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])


def refusal(operation: str, request: Any) -> str:
    """What is said to the request, which must be refused."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(InvalidRequest) as raised:
        decode(model.operations()[operation], body)
    return str(raised.value)


def on_the_wire(value: Any) -> Any:
    """Timestamps as whole seconds, as botocore writes them."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, dict):
        return {name: on_the_wire(item) for name, item in value.items()}
    return [on_the_wire(item) for item in value] if isinstance(value, list) else value


# --- botocore as the oracle --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_botocore_writes_is_read_as_it_was_meant(name: str) -> None:
    operation = model.operations()[name]
    serializer = create_serializer("json")

    @FEW
    @given(fitting(operation.input_shape))
    def check(request: dict[str, Any]) -> None:
        body = serializer.serialize_to_request(request, operation)["body"]

        call = decode(operation, body)

        assert call.operation == name
        assert json.loads(json.dumps(call.input)) == on_the_wire(request)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_the_target_names_the_operation(name: str) -> None:
    assert operation_of(f"AmazonAthena.{name}").name == name


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, "The request has no X-Amz-Target header."),
        ("", "The request has no X-Amz-Target header."),
        ("AmazonAthena.Nothing", "Athena has no operation Nothing."),
        ("AmazonAthena.", "Athena has no operation ."),
        ("AmazonAthena.startSession", "Athena has no operation startSession."),
        ("AWSGlue.Get", "X-Amz-Target must be AmazonAthena.<Operation>, not AWSGlue.Get."),
        ("StartSession", "X-Amz-Target must be AmazonAthena.<Operation>, not StartSession."),
    ],
)  # fmt: skip
def test_a_target_that_names_none_is_an_unknown_operation(target: str | None, said: str) -> None:
    with pytest.raises(UnknownOperation) as raised:
        operation_of(target)

    assert str(raised.value) == said


def every_shape() -> Iterator[Shape]:
    service = model.service()
    return (service.shape_for(name) for name in service.shape_names)


def test_every_pattern_of_the_model_can_be_used() -> None:
    patterns = [model.pattern_of(shape) for shape in every_shape() if "pattern" in shape.metadata]

    assert len(patterns) > 10
    assert all(isinstance(pattern, re.Pattern) for pattern in patterns)


def test_no_member_that_is_asked_for_has_a_type_that_decode_does_not_know() -> None:
    known = {"structure", "list", "map", "string", "integer", "long", "boolean", "timestamp",
             "double", "float", "blob"}  # fmt: skip

    assert {shape.type_name for shape in every_shape()} <= known


# --- the words of a refusal --------------------------------------------------------------------

SESSION = {"WorkGroup": "spark", "EngineConfiguration": {}}
ONE = "1 validation error detected: "


@pytest.mark.parametrize(
    ("operation", "request_", "said"),
    [
        (
            "StartSession", {"EngineConfiguration": {}},
            "Value null at 'workGroup' failed to satisfy constraint: Member must not be null",
        ),
        (
            "StartSession", {"WorkGroup": None, "EngineConfiguration": {}},
            "Value null at 'workGroup' failed to satisfy constraint: Member must not be null",
        ),
        (
            "StartSession", SESSION | {"WorkGroup": "a b"},
            "Value 'a b' at 'workGroup' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: [a-zA-Z0-9._-]{1,128}",
        ),
        (
            "StartSession", SESSION | {"EngineConfiguration": {"MaxConcurrentDpus": 1}},
            "Value '1' at 'engineConfiguration.maxConcurrentDpus' failed to satisfy constraint: "
            "Member must have value greater than or equal to 2",
        ),
        (
            "StartSession", SESSION | {"EngineConfiguration": {"MaxConcurrentDpus": 5001}},
            "Value '5001' at 'engineConfiguration.maxConcurrentDpus' failed to satisfy constraint: "
            "Member must have value less than or equal to 5000",
        ),
        (
            "StartSession", SESSION | {"EngineConfiguration": {"CoordinatorDpuSize": 2}},
            "Value '2' at 'engineConfiguration.coordinatorDpuSize' failed to satisfy constraint: "
            "Member must have value less than or equal to 1",
        ),
        (
            "StartSession", SESSION | {"EngineConfiguration": {"DefaultExecutorDpuSize": 0}},
            "Value '0' at 'engineConfiguration.defaultExecutorDpuSize' failed to satisfy "
            "constraint: Member must have value greater than or equal to 1",
        ),
        (
            "StartSession", SESSION | {"SessionIdleTimeoutInMinutes": 0},
            "Value '0' at 'sessionIdleTimeoutInMinutes' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            "StartSession", SESSION | {"SessionIdleTimeoutInMinutes": 481},
            "Value '481' at 'sessionIdleTimeoutInMinutes' failed to satisfy constraint: "
            "Member must have value less than or equal to 480",
        ),
        (
            "StartSession", SESSION | {"ClientRequestToken": "t" * 31},
            f"Value '{'t' * 31}' at 'clientRequestToken' failed to satisfy constraint: "
            "Member must have length greater than or equal to 32",
        ),
        (
            "StartSession", SESSION | {"Description": "d" * 1025},
            f"Value '{'d' * 256}...' at 'description' failed to satisfy constraint: "
            "Member must have length less than or equal to 1024",
        ),
        (
            "StartSession", SESSION | {"Description": ""},
            "Value '' at 'description' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            "StartSession", SESSION | {"Tags": [{"Key": ""}]},
            "Value '' at 'tags.1.member.key' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            "StartCalculationExecution", {"SessionId": "s", "CodeBlock": "x" * 68_001},
            f"Value '{'x' * 256}...' at 'codeBlock' failed to satisfy constraint: "
            "Member must have length less than or equal to 68000",
        ),
        (
            "ListSessions", {"WorkGroup": "spark", "StateFilter": "SLEEPING"},
            "Value 'SLEEPING' at 'stateFilter' failed to satisfy constraint: Member must satisfy "
            "enum value set: [CREATING, CREATED, IDLE, BUSY, TERMINATING, TERMINATED, DEGRADED, "
            "FAILED]",
        ),
        (
            "ListSessions", {"WorkGroup": "spark", "MaxResults": "10"},
            "Value '10' at 'maxResults' failed to satisfy constraint: Member must be of type "
            "integer",
        ),
        (
            "ListSessions", {"WorkGroup": "spark", "MaxResults": True},
            "Value 'true' at 'maxResults' failed to satisfy constraint: Member must be of type "
            "integer",
        ),
        (
            "ListSessions", {"WorkGroup": ["spark"]},
            "Value '[...]' at 'workGroup' failed to satisfy constraint: Member must be of type "
            "string",
        ),
        (
            "StartSession", SESSION | {"EngineConfiguration": []},
            "Value '[]' at 'engineConfiguration' failed to satisfy constraint: Member must be of "
            "type structure",
        ),
        (
            "GetSession", b'{"SessionId": "\\ud800"}',
            "Value '?' at 'sessionId' failed to satisfy constraint: Member must be valid Unicode",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_a_broken_rule_is_named_in_awss_words(operation: str, request_: Any, said: str) -> None:
    assert refusal(operation, request_) == ONE + said


def test_every_broken_rule_of_a_request_is_named() -> None:
    said = refusal("StartSession", {"Description": "", "SessionIdleTimeoutInMinutes": 0})

    assert said.startswith("4 validation errors detected: Value null at 'workGroup'")
    assert said.count("failed to satisfy constraint") == 4


def test_a_code_block_of_the_greatest_length_is_taken() -> None:
    body = json.dumps({"SessionId": "s", "CodeBlock": "x" * 68_000}).encode()

    call = decode(operation_of("AmazonAthena.StartCalculationExecution"), body)

    assert len(call.input["CodeBlock"]) == 68_000


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "The request body is not valid JSON."),
        (b"not json", "The request body is not valid JSON."),
        (b"\xff\xfe", "The request body is not valid JSON."),
        (b'{"SessionId": NaN}', "The request body is not valid JSON."),
        (b'{"SessionId": -Infinity}', "The request body is not valid JSON."),
        (b'{"SessionId": ' + b"9" * 5000 + b"}", "The request body is not valid JSON."),
        (b"[" * 100_000, "The request body is not valid JSON."),
        (b"[]", "The request body must be a JSON object."),
        (b'"text"', "The request body must be a JSON object."),
        (b"null", "The request body must be a JSON object."),
    ],
    ids=range(10),
)
def test_a_body_that_is_no_request_is_refused(body: bytes, said: str) -> None:
    assert refusal("GetSession", body) == said


def test_an_empty_body_is_an_empty_request() -> None:
    assert decode(operation_of("AmazonAthena.ListWorkGroups"), b"") == Call("ListWorkGroups", {})


def test_members_that_the_model_does_not_know_are_dropped_and_nulls_are_no_members() -> None:
    body = b'{"SessionId": "s", "Nonsense": {"a": [1]}, "sessionId": "x"}'

    assert decode(operation_of("AmazonAthena.GetSession"), body).input == {"SessionId": "s"}
    listed = decode(operation_of("AmazonAthena.ListWorkGroups"), b'{"NextToken": null}')
    assert listed.input == {}


def test_a_whole_number_may_be_written_with_a_point() -> None:
    body = b'{"WorkGroup": "spark", "MaxResults": 10.0}'

    assert decode(operation_of("AmazonAthena.ListSessions"), body).input["MaxResults"] == 10


def test_a_long_list_of_wrong_items_costs_no_more_than_twenty_of_them() -> None:
    said = refusal("StartSession", SESSION | {"Tags": [{"Key": 1}] * 200_000})

    assert said.startswith("20 validation errors detected: ")
    assert len(said) < 5_000


@pytest.mark.parametrize("depth", [*range(1, 12), *range(880, 1000, 3), 5000])
def test_json_of_any_depth_is_refused_like_any_other_wrong_value(depth: int) -> None:
    body = b'{"SessionId": ' + b"[" * depth + b"]" * depth + b"}"

    assert refusal("GetSession", body)


# --- anything at all ---------------------------------------------------------------------------


def outcome(operation: OperationModel, body: bytes) -> Call | str:
    """The call, or what is said instead; any other error is the test's failure."""
    try:
        return decode(operation, body)
    except InvalidRequest as refused:
        return str(refused)


@pytest.mark.parametrize("name", NAMES)
def test_any_value_gives_a_call_or_an_invalid_request_and_nothing_else(name: str) -> None:
    operation = model.operations()[name]

    @FEW
    @given(nearly(operation.input_shape) | JSON)
    def check(value: Any) -> None:
        said = outcome(operation, json.dumps(value).encode())

        if isinstance(said, Call):
            assert set(said.input) <= set(operation.input_shape.members)
        else:
            assert said.encode()

    check()


@given(st.binary())
@example(b'{"a":' * 3000)
@example(b"\x00{\x00}")
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_give_a_call_or_an_invalid_request_and_nothing_else(body: bytes) -> None:
    operation = model.operations()["StartSession"]

    with pytest.raises(InvalidRequest):
        decode(operation, body)

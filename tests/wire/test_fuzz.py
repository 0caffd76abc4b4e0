"""Inputs of every kind to every operation of a running server: good, nearly good, and none at all.

Whatever comes, the answer is one of the model's, never a 5xx, and the log has no error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.protocol.shapes import JSON, fitting, nearly
from tests.serving import Server, serving, until
from tests.wire.answers import require_model
from tests.wire.raw import send

from sparkowl.domain.engine import ENGINE_VERSIONS
from sparkowl.domain.notebook import empty
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model

SOME = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ARN = "arn:aws:athena:us-east-1:000000000000:workgroup/"
ROLE = "arn:aws:iam::000000000000:role/Spark"
ENGINES = ("PySpark engine version 3", "Apache Spark version 3.5", "Apache Spark version 4.1")


class Errors(logging.Handler):
    """What the server logged as an error, or with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.seen.append(f"{record.name}: {record.getMessage()} {record.exc_info}")


@dataclass(frozen=True, slots=True)
class Place:
    """A server with something in it; names that mean something there."""

    server: Server
    errors: Errors
    #: By member: values that a request may have instead of made-up ones.
    known: dict[str, list[Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    errors = Errors()
    root = logging.getLogger()
    with serving(tmp_path_factory.mktemp("fuzz"), limits={"sessions": 5_000,
                 "account_dpus": 5_000}) as server:  # fmt: skip
        found = Place(server, errors, _furnish(server.client()))
        root.addHandler(errors)
        yield found
        root.removeHandler(errors)
    assert errors.seen == []


def _furnish(athena: Any) -> dict[str, list[Any]]:
    groups = [f"group-{number}" for number in range(len(ENGINES))]
    for name, engine in zip(groups, ENGINES, strict=True):
        version = {"SelectedEngineVersion": engine}
        athena.create_work_group(
            Name=name, Configuration={"EngineVersion": version, "ExecutionRole": ROLE}
        )
    athena.create_work_group(Name="updated")
    ids = []
    for group in groups:
        started = athena.start_session(WorkGroup=group, EngineConfiguration={})
        ids.append(str(started["SessionId"]))
    paged = {"EngineConfiguration": {}, "NotebookVersion": "Athena notebook version 1"}
    ids.append(str(athena.start_session(WorkGroup="spark", **paged)["SessionId"]))
    until(lambda: all(state(athena, each) == "IDLE" for each in ids))
    books = [
        athena.create_notebook(WorkGroup="spark", Name=f"book-{number}")["NotebookId"]
        for number in range(3)
    ]
    block = athena.start_calculation_execution(SessionId=ids[0], CodeBlock="1")
    return {
        "WorkGroup": ["spark", "primary", *groups],
        "SessionId": ids,
        "CalculationExecutionId": [block["CalculationExecutionId"]],
        "ResourceARN": [ARN + "spark", f"{ARN}{groups[0]}/session/{ids[0]}"],
        "SelectedEngineVersion": list(ENGINE_VERSIONS),
        "ExecutionRole": [ROLE],
        "OutputLocation": ["s3://sparkowl-results/a", "s3://sparkowl-results/" + "ü" * 400],
        "Classifications": [[{"Name": "spark-defaults", "Properties": {"spark.task.cpus": "1"}}]],
        "MaxConcurrentDpus": [2, 60],
        "CodeBlock": ["1", "fail x", "hang", "die x"],
        "NotebookId": books,
        "Payload": [empty(), empty() + " ", "{}", '{"nbformat": 4, "nbformat_minor": 5}'],
        "NotebookS3LocationUri": ["s3://sparkowl-results/gone", "s3://nowhere/x", "S3://x/"],
        "Key": ["a", "b", "ü", "aws:x"],
        "Value": ["", "x y"],
    }


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


@st.composite
def meaningful(draw: st.DrawFn, shape: Shape, known: dict[str, list[Any]]) -> Any:
    """A value that fits the shape, in which many members name what is there."""
    value = draw(fitting(shape))
    # A token that is made up is refused at once; so is one code block in two places.
    if "NextToken" in value and draw(st.integers(0, 9)):
        del value["NextToken"]
    if {"Payload", "NotebookS3LocationUri"} <= set(value) and draw(st.integers(0, 9)):
        del value["NotebookS3LocationUri"]
    # Of another session, or of none that is there.
    if "Payload" in value and "SessionId" in value and draw(st.integers(0, 3)):
        del value["SessionId"]
    if "CodeBlock" in value and draw(st.integers(0, 9)):
        value.pop("CalculationConfiguration", None)
    return _enlivened(draw, value, shape, known)


def _enlivened(draw: st.DrawFn, value: Any, shape: Shape, known: dict[str, list[Any]]) -> Any:
    if isinstance(shape, StructureShape):
        return {
            name: draw(st.sampled_from(known[name]))
            if name in known and draw(st.integers(0, 3))
            else _enlivened(draw, item, shape.members[name], known)
            for name, item in value.items()
        }
    if isinstance(shape, ListShape):
        return [_enlivened(draw, item, shape.member, known) for item in value]
    if isinstance(shape, MapShape):
        return {k: _enlivened(draw, item, shape.value, known) for k, item in value.items()}
    return value


def answer_to(place: Place, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """The answer; an assertion when it is none of the model's or the server logged an error."""
    status, _, found = send(place.server, body, X_Amz_Target=f"AmazonAthena.{operation}")
    assert status < 500, (operation, body, found)
    require_model(operation, status, json.dumps(found).encode())
    assert place.errors.seen == []
    return status, found


def promising(place: Place, operation: str, request: dict[str, Any], number: int) -> dict[str, Any]:
    """The request, so changed that it may succeed, and harms no other's."""
    if operation == "CreateWorkGroup":
        request = request | {"Name": f"fuzzed-{number}"}
    if operation == "UpdateWorkGroup" and request["WorkGroup"] in place.known["WorkGroup"]:
        # Not one that the others need enabled.
        request = request | {"WorkGroup": "updated"}
    if operation == "DeleteWorkGroup" and request["WorkGroup"] != "primary":
        request = request | {"WorkGroup": f"fuzzed-{number}"}
        place.server.client().create_work_group(Name=request["WorkGroup"])
    if operation in {"CreateNotebook", "ImportNotebook", "UpdateNotebookMetadata"}:
        request = request | {"Name": f"fuzzed-{number}"}
    if operation == "ImportNotebook" and number % 2:
        request.pop("NotebookS3LocationUri", None)
        request = request | {"WorkGroup": "spark", "Payload": empty()}
    if operation == "DeleteNotebook":
        request = request | {"NotebookId": new_notebook(place, f"gone-{number}")}
    if operation == "StartCalculationExecution" and number % 2:
        request = request | {"SessionId": idle_session(place.server.client())}
    if operation == "CreatePresignedNotebookUrl" and number % 2:
        # Others may have ended by now.
        request = request | {"SessionId": notebook_session(place.server.client())}
    return request


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_valid_input_succeeds_or_is_refused_for_a_reason_that_the_model_knows(
    place: Place, operation: str
) -> None:
    shape = model.operations()[operation].input_shape
    number = iter(range(10**6))
    succeeded = []

    @SOME
    @given(meaningful(shape, place.known))
    def check(request: dict[str, Any]) -> None:
        request = promising(place, operation, request, next(number))

        status, found = answer_to(place, operation, json.dumps(request, default=str).encode())

        assert "validation error" not in found.get("Message", "")
        if status == 200:
            succeeded.append(request)
            read_back(place, operation, request, found)

    check()
    # Else the test would prove little.
    assert succeeded


def new_notebook(place: Place, name: str) -> str:
    made = place.server.client().create_notebook(WorkGroup="spark", Name=name)
    return str(made["NotebookId"])


def notebook_session(athena: Any) -> str:
    started = athena.start_session(
        WorkGroup="spark", EngineConfiguration={}, NotebookVersion="Athena notebook version 1"
    )
    return str(started["SessionId"])


def idle_session(athena: Any) -> str:
    started = athena.start_session(WorkGroup="spark", EngineConfiguration={})
    session_id = str(started["SessionId"])
    until(lambda: state(athena, session_id) == "IDLE")
    return session_id


def read_back(place: Place, operation: str, request: dict[str, Any], found: dict[str, Any]) -> None:
    """Whatever was taken must be readable; the client compares it with the model."""
    athena = place.server.client()
    if operation == "StartSession":
        athena.get_session(SessionId=found["SessionId"])
        athena.list_sessions(WorkGroup=request["WorkGroup"])
        athena.terminate_session(SessionId=found["SessionId"])
    elif operation in {"CreateWorkGroup", "UpdateWorkGroup"}:
        name = request.get("Name") or request["WorkGroup"]
        athena.get_work_group(WorkGroup=name)
        athena.list_work_groups()
        if operation == "CreateWorkGroup":
            athena.delete_work_group(WorkGroup=name)
    elif operation in {"CreateNotebook", "ImportNotebook"}:
        athena.export_notebook(NotebookId=found["NotebookId"])
        athena.list_notebook_metadata(WorkGroup=request["WorkGroup"])
    elif operation in {"UpdateNotebook", "UpdateNotebookMetadata"}:
        athena.export_notebook(NotebookId=request["NotebookId"])
    elif operation == "TagResource":
        athena.list_tags_for_resource(ResourceARN=request["ResourceARN"])
    elif operation == "StartCalculationExecution":
        name = {"CalculationExecutionId": found["CalculationExecutionId"]}
        for read in ("get_calculation_execution", "stop_calculation_execution"):
            getattr(athena, read)(**name)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_broken_input_is_refused_and_nothing_worse(place: Place, operation: str) -> None:
    shape = model.operations()[operation].input_shape

    @SOME
    @given(nearly(shape) | JSON)
    def check(value: Any) -> None:
        if operation == "DeleteWorkGroup" and isinstance(value, dict):
            value.pop("WorkGroup", None)
        status, _ = answer_to(place, operation, json.dumps(value).encode())
        assert status in {200, 400}

    check()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bytes_that_are_no_request_are_refused(place: Place, operation: str) -> None:
    @SOME
    @given(st.binary(min_size=1))
    def check(body: bytes) -> None:
        try:
            is_object = isinstance(json.loads(body), dict)
        except (ValueError, RecursionError):
            is_object = False
        status, found = answer_to(place, operation, body)
        assert is_object or (status, found["__type"]) == (400, "InvalidRequestException")

    check()


def test_every_operation_can_be_called_by_its_python_name(place: Place) -> None:
    athena = place.server.client()

    assert all(hasattr(athena, xform_name(operation)) for operation in OPERATIONS)

"""What is refused, and in which words: through boto3 with its own checks switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.builders import AT
from tests.databases import ENGINES
from tests.serving import Server, serving, until

from sparkowl.domain import workgroup
from sparkowl.store import workgroups

Idle = Callable[..., str]
GOOD: dict[str, Any] = {"WorkGroup": "spark", "EngineConfiguration": {"MaxConcurrentDpus": 2}}


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    """Code and message of the refusal that ``call`` must meet."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    error = response["Error"]
    if error["Code"] == "InvalidRequestException":
        assert response["AthenaErrorCode"] == "INVALID_INPUT"
    return error["Code"], error["Message"]


def broken(value: str, path: str, rule: str) -> str:
    return (
        f"1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: "
        f"Member must {rule}"
    )


SIZE = "engineConfiguration"
START: dict[str, tuple[dict[str, Any], str]] = {
    "no workgroup": (
        {"WorkGroup": None},
        broken("null", "workGroup", "not be null"),
    ),
    "no engine configuration": (
        {"EngineConfiguration": None},
        broken("null", "engineConfiguration", "not be null"),
    ),
    "a workgroup that is not there": (
        {"WorkGroup": "nowhere"},
        "WorkGroup nowhere is not found.",
    ),
    "a workgroup whose engine is SQL": (
        {"WorkGroup": "primary"},
        "Workgroup EngineVersion is not Spark.",
    ),
    "one DPU": (
        {"EngineConfiguration": {"MaxConcurrentDpus": 1}},
        broken("'1'", f"{SIZE}.maxConcurrentDpus", "have value greater than or equal to 2"),
    ),
    "more DPUs than the API knows": (
        {"EngineConfiguration": {"MaxConcurrentDpus": 5001}},
        broken("'5001'", f"{SIZE}.maxConcurrentDpus", "have value less than or equal to 5000"),
    ),
    "more DPUs than a session may use": (
        {"EngineConfiguration": {"MaxConcurrentDpus": 61}},
        "EngineConfiguration.MaxConcurrentDpus is 61; a session may use at most 60 DPUs.",
    ),
    "a coordinator of two": (
        {"EngineConfiguration": {"CoordinatorDpuSize": 2}},
        broken("'2'", f"{SIZE}.coordinatorDpuSize", "have value less than or equal to 1"),
    ),
    "an executor of none": (
        {"EngineConfiguration": {"DefaultExecutorDpuSize": 0}},
        broken("'0'", f"{SIZE}.defaultExecutorDpuSize", "have value greater than or equal to 1"),
    ),
    "no idle time at all": (
        {"SessionIdleTimeoutInMinutes": 0},
        broken("'0'", "sessionIdleTimeoutInMinutes", "have value greater than or equal to 1"),
    ),
    "too much idle time": (
        {"SessionIdleTimeoutInMinutes": 481},
        broken("'481'", "sessionIdleTimeoutInMinutes", "have value less than or equal to 480"),
    ),
    "a token that is too short": (
        {"ClientRequestToken": "t" * 31},
        broken(f"'{'t' * 31}'", "clientRequestToken", "have length greater than or equal to 32"),
    ),
    "a description that is too long": (
        {"Description": "d" * 1025},
        broken(f"'{'d' * 256}...'", "description", "have length less than or equal to 1024"),
    ),
    "a notebook without its version": (
        {"EngineConfiguration": {"AdditionalConfigs": {"NotebookId": "x"}}},
        "NotebookVersion is required when NotebookId is provided.",
    ),
    "a classification that is not Spark's": (
        {"EngineConfiguration": {"Classifications": [{"Name": "hive-site", "Properties": {}}]}},
        "EngineConfiguration.Classifications: Name must be spark-defaults, not hive-site.",
    ),
}


@pytest.mark.parametrize("case", START)
def test_a_session_is_not_started_with(athena: Any, case: str) -> None:
    change, said = START[case]
    request = {name: value for name, value in (GOOD | change).items() if value is not None}

    assert refusal(athena.start_session, **request) == ("InvalidRequestException", said)


def test_a_disabled_workgroup_starts_no_session(server: Server, athena: Any) -> None:
    _, spark = workgroup.built_in(AT)
    closed = replace(spark, name="closed", state=workgroup.State.DISABLED)
    add = partial(workgroups.insert_work_group, work_group=closed)

    server.do(lambda: server.running.store.write(add))

    assert refusal(athena.start_session, **(GOOD | {"WorkGroup": "closed"})) == (
        "InvalidRequestException",
        "WorkGroup closed is disabled.",
    )


def test_a_token_that_was_used_with_other_parameters_is_refused(athena: Any) -> None:
    request = GOOD | {"ClientRequestToken": "token-of-the-test-with-32-letters"}
    athena.start_session(**request)

    code, said = refusal(athena.start_session, **request, Description="other")

    assert code == "InvalidRequestException"
    assert said.startswith("Idempotent parameters do not match")


@pytest.mark.parametrize(
    "operation",
    [
        "get_session",
        "get_session_status",
        "terminate_session",
        "list_executors",
        "list_calculation_executions",
    ],
)
def test_an_unknown_session_is_an_invalid_request(athena: Any, operation: str) -> None:
    assert refusal(getattr(athena, operation), SessionId="nowhere") == (
        "InvalidRequestException",
        "Session nowhere is not found.",
    )


def test_an_unknown_session_takes_no_calculation(athena: Any) -> None:
    said = refusal(athena.start_calculation_execution, SessionId="nowhere", CodeBlock="1")

    assert said == ("InvalidRequestException", "Session nowhere is not found.")


@pytest.mark.parametrize(
    "operation",
    [
        "get_calculation_execution",
        "get_calculation_execution_status",
        "get_calculation_execution_code",
        "stop_calculation_execution",
    ],
)
def test_an_unknown_calculation_is_an_invalid_request(athena: Any, operation: str) -> None:
    assert refusal(getattr(athena, operation), CalculationExecutionId="nowhere") == (
        "InvalidRequestException",
        "Calculation execution nowhere is not found.",
    )


@pytest.mark.parametrize("operation", ["get_work_group", "list_sessions"])
def test_an_unknown_workgroup_is_not_found_in_terraforms_words(athena: Any, operation: str) -> None:
    assert refusal(getattr(athena, operation), WorkGroup="nowhere") == (
        "InvalidRequestException",
        "WorkGroup nowhere is not found.",
    )


def test_a_calculation_needs_exactly_one_form_of_its_code(athena: Any, idle_session: Idle) -> None:
    session_id = idle_session()
    both = {"CodeBlock": "1", "CalculationConfiguration": {"CodeBlock": "1"}}

    code, said = refusal(athena.start_calculation_execution, SessionId=session_id, **both)
    none = refusal(athena.start_calculation_execution, SessionId=session_id)

    assert (code, said[:9]) == ("InvalidRequestException", "CodeBlock")
    assert none == ("InvalidRequestException", "CodeBlock is required.")


def test_a_block_of_68001_characters_is_too_long_and_one_of_68000_is_not(
    athena: Any, idle_session: Idle
) -> None:
    session_id = idle_session()

    said = refusal(athena.start_calculation_execution, SessionId=session_id, CodeBlock="x" * 68_001)
    taken = athena.start_calculation_execution(SessionId=session_id, CodeBlock="x" * 68_000)

    assert said == (
        "InvalidRequestException",
        broken(f"'{'x' * 256}...'", "codeBlock", "have length less than or equal to 68000"),
    )
    assert taken["State"] == "CREATING"


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


def test_a_session_that_is_not_idle_takes_no_calculation(
    athena: Any, server: Server, idle_session: Idle
) -> None:
    busy, ended, failed = idle_session(), idle_session(), idle_session()
    server.launcher.knobs.never_ready = True
    creating = athena.start_session(**GOOD)["SessionId"]
    athena.start_calculation_execution(SessionId=busy, CodeBlock="hang")
    athena.terminate_session(SessionId=ended)
    athena.start_calculation_execution(SessionId=failed, CodeBlock="die The kernel was killed.")
    until(lambda: state(athena, ended) == "TERMINATED" and state(athena, failed) == "FAILED")

    for session_id, expected in (
        (creating, "CREATING"),
        (busy, "BUSY"),
        (ended, "TERMINATED"),
        (failed, "FAILED"),
    ):
        assert refusal(athena.start_calculation_execution, SessionId=session_id, CodeBlock="1") == (
            "InvalidRequestException",
            f"Session is in the {expected} state; needs to be IDLE to accept Calculations.",
        )
    athena.terminate_session(SessionId=creating)
    server.launcher.knobs.never_ready = False


def test_a_restricted_property_fails_the_session_with_the_reason(athena: Any) -> None:
    asked = {"SparkProperties": {"spark.driver.extraJavaOptions": "-agentlib:x", "other": "x"}}
    session_id = athena.start_session(WorkGroup="spark", EngineConfiguration=asked)["SessionId"]

    until(lambda: state(athena, session_id) == "FAILED")

    status = athena.get_session_status(SessionId=session_id)["Status"]
    assert status["StateChangeReason"] == (
        "Session failed to start [USER] Spark properties that cannot be set in a session: "
        "spark.driver.extraJavaOptions (it would change the command line of a JVM)"
        f" Diagnose it with: sparkowl sessions diagnose {session_id}"
    )


@pytest.mark.parametrize("engine", ["SparkProperties", "Classifications"])
def test_a_property_that_is_not_sparks_is_ignored(
    athena: Any, idle_session: Idle, engine: str
) -> None:
    properties = {"not.spark": "x"}
    asked = {
        "SparkProperties": properties,
        "Classifications": [{"Name": "spark-defaults", "Properties": properties}],
    }

    session_id = idle_session(EngineConfiguration={engine: asked[engine]})

    assert state(athena, session_id) == "IDLE"


def test_a_next_token_that_is_forged_or_of_another_list_is_refused(
    athena: Any, idle_session: Idle
) -> None:
    idle_session()
    idle_session()
    token = athena.list_sessions(WorkGroup="spark", MaxResults=1)["NextToken"]
    said = "NextToken is not one that this operation gave for this request."

    for call, request in (
        (athena.list_sessions, {"WorkGroup": "spark", "NextToken": "forged"}),
        (athena.list_sessions, {"WorkGroup": "spark", "NextToken": token[:-4] + "AAAA"}),
        (athena.list_sessions, {"WorkGroup": "primary", "NextToken": token}),
        (athena.list_work_groups, {"NextToken": token}),
        (athena.list_engine_versions, {"NextToken": token}),
    ):
        assert refusal(call, **request) == ("InvalidRequestException", said)


@pytest.mark.parametrize(
    ("operation", "limit"),
    [("list_sessions", 100), ("list_work_groups", 50), ("list_engine_versions", 10)],
)
def test_a_page_has_at_least_one_row_and_not_too_many(
    athena: Any, operation: str, limit: int
) -> None:
    request = {"WorkGroup": "spark"} if operation == "list_sessions" else {}

    for size, rule in (
        (0, "have value greater than or equal to 1"),
        (limit + 1, f"have value less than or equal to {limit}"),
    ):
        said = refusal(getattr(athena, operation), **request, MaxResults=size)
        assert said == ("InvalidRequestException", broken(f"'{size}'", "maxResults", rule))


def test_an_operation_that_is_not_built_says_so(athena: Any) -> None:
    assert refusal(athena.get_resource_dashboard, ResourceARN="x") == (
        "UnknownOperationException",
        "GetResourceDashboard is an operation of Athena that SparkOwl has not built.",
    )


def test_the_account_has_a_limit_of_sessions_in_awss_words(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"sessions": 1}) as server:
        athena = server.client()
        athena.start_session(**GOOD)

        code, said = refusal(athena.start_session, **GOOD)

    assert (code, said) == ("TooManyRequestsException", "Maximum allowed sessions reached: 1.")

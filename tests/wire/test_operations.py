"""Every operation through real boto3, over the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError
from tests.databases import ENGINES
from tests.serving import Server, until

Idle = Callable[..., str]


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


def finished(athena: Any, calculation_id: str) -> dict[str, Any]:
    """The calculation, once it has ended."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = athena.get_calculation_execution(
            CalculationExecutionId=calculation_id
        )
        return found if found["Status"]["State"] in {"COMPLETED", "FAILED", "CANCELED"} else None

    return until(look)


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


# --- sessions ----------------------------------------------------------------------------------


def test_start_session_answers_an_id_that_is_a_lower_case_uuid(athena: Any) -> None:
    answer = athena.start_session(WorkGroup="spark", EngineConfiguration={})

    assert str(UUID(answer["SessionId"])) == answer["SessionId"]
    assert answer["State"] == "CREATING"


def test_get_session_reads_back_what_was_asked_for(athena: Any, idle_session: Idle) -> None:
    configuration = {
        "CoordinatorDpuSize": 1,
        "DefaultExecutorDpuSize": 1,
        "MaxConcurrentDpus": 20,
        "SparkProperties": {"spark.sql.shuffle.partitions": "4"},
    }
    session_id = idle_session(
        Description="nightly ü\U0001f989",
        EngineConfiguration=configuration,
        SessionIdleTimeoutInMinutes=7,
        NotebookVersion="Athena notebook version 1",
    )

    found = athena.get_session(SessionId=session_id)

    assert found["Description"] == "nightly ü\U0001f989"
    assert found["WorkGroup"] == "spark"
    assert found["EngineVersion"] == "Apache Spark version 4.1"
    assert found["EngineConfiguration"] == configuration
    assert found["NotebookVersion"] == "Athena notebook version 1"
    session_configuration = found["SessionConfiguration"]
    assert session_configuration["IdleTimeoutSeconds"] == 420
    assert session_configuration["WorkingDirectory"].endswith(session_id)
    assert isinstance(found["Statistics"]["DpuExecutionInMillis"], int)


def test_a_sessions_times_are_timestamps_in_utc(athena: Any, idle_session: Idle) -> None:
    status = athena.get_session_status(SessionId=idle_session())["Status"]

    assert status["State"] == "IDLE"
    for name in ("StartDateTime", "LastModifiedDateTime", "IdleSinceDateTime"):
        assert isinstance(status[name], datetime)
        assert abs((datetime.now(UTC) - status[name]).total_seconds()) < 60
    assert "EndDateTime" not in status
    assert "StateChangeReason" not in status


def test_list_sessions_shows_the_active_ones_newest_first_in_pages(
    athena: Any, idle_session: Idle
) -> None:
    ids = [idle_session() for _ in range(3)]
    athena.terminate_session(SessionId=ids[0])

    first = athena.list_sessions(WorkGroup="spark", MaxResults=1)
    second = athena.list_sessions(WorkGroup="spark", MaxResults=1, NextToken=first["NextToken"])

    shown = [page["Sessions"][0] for page in (first, second)]
    assert [session["SessionId"] for session in shown] == [ids[2], ids[1]]
    assert shown[0]["Status"]["State"] == "IDLE"
    assert shown[0]["EngineVersion"]["EffectiveEngineVersion"] == "Apache Spark version 4.1"


def test_list_sessions_finds_ended_ones_by_their_state(athena: Any, idle_session: Idle) -> None:
    session_id = idle_session()
    athena.terminate_session(SessionId=session_id)
    until(lambda: state(athena, session_id) == "TERMINATED")

    found = athena.list_sessions(WorkGroup="spark", StateFilter="TERMINATED")["Sessions"]

    assert session_id in [session["SessionId"] for session in found]


def test_terminate_session_may_be_repeated(athena: Any, idle_session: Idle) -> None:
    session_id = idle_session()

    first = athena.terminate_session(SessionId=session_id)
    until(lambda: state(athena, session_id) == "TERMINATED")
    second = athena.terminate_session(SessionId=session_id)

    assert (first["State"], second["State"]) == ("TERMINATING", "TERMINATED")
    status = athena.get_session(SessionId=session_id)["Status"]
    assert status["StateChangeReason"] == "Session was terminated per request [USER]"
    assert isinstance(status["EndDateTime"], datetime)


def test_list_executors_shows_the_coordinator_with_times_as_numbers(
    athena: Any, idle_session: Idle
) -> None:
    session_id = idle_session()

    found = athena.list_executors(SessionId=session_id)
    none = athena.list_executors(SessionId=session_id, ExecutorStateFilter="FAILED")

    [executor] = found["ExecutorsSummary"]
    assert (executor["ExecutorType"], executor["ExecutorState"]) == ("COORDINATOR", "REGISTERED")
    assert isinstance(executor["StartDateTime"], int)
    assert found["SessionId"] == session_id
    assert none["ExecutorsSummary"] == []


def test_one_token_makes_one_session_when_eight_requests_race(server: Server) -> None:
    request = {
        "WorkGroup": "spark",
        "EngineConfiguration": {},
        "ClientRequestToken": str(uuid4()),
        "Description": "raced",
    }
    clients = [server.client() for _ in range(8)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda client: client.start_session(**request), clients))

    assert len({answer["SessionId"] for answer in answers}) == 1
    shown = clients[0].list_sessions(WorkGroup="spark")["Sessions"]
    assert sum(session.get("Description") == "raced" for session in shown) == 1


def test_any_character_comes_back_and_can_be_asked_for(athena: Any, idle_session: Idle) -> None:
    """NUL as well, which PostgreSQL itself does not take."""
    session_id = idle_session(Description="a\0b\x01a")
    calculation_id = athena.start_calculation_execution(
        SessionId=session_id, CodeBlock="print('\0')", Description="\0"
    )["CalculationExecutionId"]

    assert athena.get_session(SessionId=session_id)["Description"] == "a\0b\x01a"
    found = athena.get_calculation_execution(CalculationExecutionId=calculation_id)
    assert found["Description"] == "\0"
    with pytest.raises(ClientError, match="InvalidRequestException"):
        athena.get_session_status(SessionId="\0")


# --- calculations ------------------------------------------------------------------------------


def test_a_calculation_from_start_to_its_outputs(
    athena: Any, server: Server, idle_session: Idle
) -> None:
    session_id = idle_session()
    started = athena.start_calculation_execution(
        SessionId=session_id, CodeBlock="print('ü')", Description="one"
    )
    calculation_id = started["CalculationExecutionId"]

    found = finished(athena, calculation_id)

    assert started["State"] == "CREATING"
    assert str(UUID(calculation_id)) == calculation_id
    assert found["SessionId"] == session_id
    assert found["Description"] == "one"
    assert found["Status"]["State"] == "COMPLETED"
    assert "StateChangeReason" not in found["Status"]
    assert isinstance(found["Status"]["SubmissionDateTime"], datetime)
    assert isinstance(found["Status"]["CompletionDateTime"], datetime)
    assert found["Statistics"]["Progress"] == "100%"
    assert found["Statistics"]["DpuExecutionInMillis"] >= 1
    result = found["Result"]
    assert result["ResultType"] == "application/vnd.aws.athena.v1+json"
    s3 = server.client("s3")
    texts = {}
    for name in ("StdOutS3Uri", "StdErrorS3Uri", "ResultS3Uri"):
        assert result[name].startswith(found["WorkingDirectory"])
        bucket, key = result[name].removeprefix("s3://").split("/", 1)
        texts[name] = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert texts["StdOutS3Uri"] == "print('ü')"
    json.loads(texts["ResultS3Uri"])


def test_the_older_form_of_a_code_block_is_taken(athena: Any, idle_session: Idle) -> None:
    started = athena.start_calculation_execution(
        SessionId=idle_session(), CalculationConfiguration={"CodeBlock": "older"}
    )

    code = athena.get_calculation_execution_code(
        CalculationExecutionId=started["CalculationExecutionId"]
    )

    assert code["CodeBlock"] == "older"


def test_a_failed_calculation_says_why(athena: Any, idle_session: Idle) -> None:
    started = athena.start_calculation_execution(
        SessionId=idle_session(), CodeBlock="fail NameError: name 'x' is not defined"
    )

    found = finished(athena, started["CalculationExecutionId"])

    assert found["Status"]["State"] == "FAILED"
    assert found["Status"]["StateChangeReason"] == "NameError: name 'x' is not defined"
    assert set(found["Result"]) >= {"StdOutS3Uri", "StdErrorS3Uri", "ResultS3Uri"}


def test_stop_calculation_execution_cancels_what_runs(athena: Any, idle_session: Idle) -> None:
    session_id = idle_session()
    calculation_id = athena.start_calculation_execution(SessionId=session_id, CodeBlock="hang")[
        "CalculationExecutionId"
    ]

    def running() -> bool:
        status = athena.get_calculation_execution_status(CalculationExecutionId=calculation_id)
        assert status["Statistics"]["Progress"] == "0%"
        return bool(status["Status"]["State"] == "RUNNING")

    until(running)
    while_it_runs = athena.get_calculation_execution(CalculationExecutionId=calculation_id)
    answer = athena.stop_calculation_execution(CalculationExecutionId=calculation_id)

    assert answer["State"] == "CANCELING"
    assert set(while_it_runs["Result"]) == {"StdOutS3Uri", "StdErrorS3Uri"}
    assert finished(athena, calculation_id)["Status"]["State"] == "CANCELED"
    again = athena.stop_calculation_execution(CalculationExecutionId=calculation_id)
    assert again["State"] == "CANCELED"


def test_list_calculation_executions_shows_all_newest_first_in_pages(
    athena: Any, idle_session: Idle
) -> None:
    session_id = idle_session()
    ids = []
    for code in ("1", "fail x", "2"):
        until(lambda: state(athena, session_id) == "IDLE")
        started = athena.start_calculation_execution(SessionId=session_id, CodeBlock=code)
        ids.append(started["CalculationExecutionId"])
        finished(athena, ids[-1])

    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = athena.list_calculation_executions(SessionId=session_id, MaxResults=2, **token)
        seen += [calculation["CalculationExecutionId"] for calculation in page["Calculations"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    failed = athena.list_calculation_executions(SessionId=session_id, StateFilter="FAILED")

    assert seen == ids[::-1]
    assert [c["CalculationExecutionId"] for c in failed["Calculations"]] == [ids[1]]


# --- workgroups and engines --------------------------------------------------------------------


def test_get_work_group_answers_the_built_in_ones(athena: Any) -> None:
    primary = athena.get_work_group(WorkGroup="primary")["WorkGroup"]
    spark = athena.get_work_group(WorkGroup="spark")["WorkGroup"]

    assert primary["State"] == "ENABLED"
    assert primary["Configuration"]["EngineVersion"] == {
        "SelectedEngineVersion": "AUTO",
        "EffectiveEngineVersion": "Athena engine version 3",
    }
    # The server's setting holds for both, so none is stored, and a change of it holds at once.
    assert primary["Configuration"]["ResultConfiguration"] == {}
    assert spark["Configuration"]["ResultConfiguration"] == {}
    assert isinstance(spark["CreationTime"], datetime)


def test_list_work_groups_in_pages(athena: Any) -> None:
    first = athena.list_work_groups(MaxResults=1)
    second = athena.list_work_groups(MaxResults=1, NextToken=first["NextToken"])

    names = [page["WorkGroups"][0]["Name"] for page in (first, second)]
    assert names == ["primary", "spark"]
    assert "NextToken" not in second


def test_list_engine_versions_in_pages(athena: Any) -> None:
    everything = athena.list_engine_versions()["EngineVersions"]
    first = athena.list_engine_versions(MaxResults=2)
    second = athena.list_engine_versions(MaxResults=10, NextToken=first["NextToken"])

    names = [version["SelectedEngineVersion"] for version in everything]
    assert "PySpark engine version 3" in names
    assert first["EngineVersions"] + second["EngineVersions"] == everything


def test_list_application_dpu_sizes(athena: Any) -> None:
    [size] = athena.list_application_dpu_sizes()["ApplicationDPUSizes"]

    assert size == {"ApplicationRuntimeId": "Athena notebook version 1", "SupportedDPUSizes": [1]}


# --- other clients -----------------------------------------------------------------------------


def test_the_aws_command_line_starts_and_lists_a_session(server: Server) -> None:
    keys = server.running.credentials
    environment = os.environ | {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }

    def aws(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "aws"), "athena", *arguments, "--output", "json"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    started = aws(
        "start-session", "--work-group", "spark", "--engine-configuration", "MaxConcurrentDpus=2"
    )
    listed = aws("list-sessions", "--work-group", "spark")

    assert started["SessionId"] in [session["SessionId"] for session in listed["Sessions"]]


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_every_retry_mode_sees_the_refusal_at_once(server: Server, mode: str) -> None:
    athena = server.client(retries={"mode": mode, "max_attempts": 3})

    with pytest.raises(ClientError) as refused:
        athena.get_session(SessionId="nowhere")

    assert refused.value.response["ResponseMetadata"]["RetryAttempts"] == 0

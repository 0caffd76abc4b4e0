"""Every operation's answers in a server full of rows, member by member against Athena's model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from botocore import xform_name
from tests.serving import Server, serving, until
from tests.wire.answers import error_misfits, members_in, members_of, misfits

from sparkowl.domain.ids import NotebookId
from sparkowl.domain.notebook import empty
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model
from sparkowl.store import sessions as rows

ROLE = "arn:aws:iam::000000000000:role/service-role/Spark"
KEY = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-00000000000a"
ARN = "arn:aws:athena:us-east-1:000000000000:workgroup/full"
MONITORING: dict[str, Any] = {
    "CloudWatchLoggingConfiguration": {
        "Enabled": True,
        "LogGroup": "/aws/athena",
        "LogStreamNamePrefix": "x/y",
        "LogTypes": {"SPARK_DRIVER": ["STDOUT", "STDERR"], "SPARK_EXECUTOR": []},
    },
    "ManagedLoggingConfiguration": {"Enabled": True, "KmsKey": KEY},
    "S3LoggingConfiguration": {"Enabled": False, "KmsKey": KEY, "LogLocation": "s3://logs/x"},
}
ENGINE: dict[str, Any] = {
    "CoordinatorDpuSize": 1,
    "MaxConcurrentDpus": 20,
    "DefaultExecutorDpuSize": 1,
    "AdditionalConfigs": {"a": "ü"},
    "SparkProperties": {"spark.sql.shuffle.partitions": "4"},
    "Classifications": [
        {"Name": "spark-defaults", "Properties": {"spark.sql.ansi.enabled": "true"}}
    ],
}
#: Every member of WorkGroupConfiguration.
CONFIGURATION: dict[str, Any] = {
    "ResultConfiguration": {
        "OutputLocation": "s3://sparkowl-results/full",
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3", "KmsKey": KEY},
        "ExpectedBucketOwner": "000000000000",
        "AclConfiguration": {"S3AclOption": "BUCKET_OWNER_FULL_CONTROL"},
    },
    "ManagedQueryResultsConfiguration": {
        "Enabled": False,
        "EncryptionConfiguration": {"KmsKey": KEY},
    },
    "EnforceWorkGroupConfiguration": False,
    "PublishCloudWatchMetricsEnabled": True,
    "BytesScannedCutoffPerQuery": 10_000_000_000,
    "RequesterPaysEnabled": True,
    "EngineVersion": {"SelectedEngineVersion": "Apache Spark version 4.1"},
    "AdditionalConfiguration": '{"x": 1}',
    "ExecutionRole": ROLE,
    "MonitoringConfiguration": MONITORING,
    "EngineConfiguration": ENGINE,
    "CustomerContentEncryptionConfiguration": {"KmsKey": KEY},
    "EnableMinimumEncryptionConfiguration": True,
    "IdentityCenterConfiguration": {
        "EnableIdentityCenter": False,
        "IdentityCenterInstanceArn": "arn:aws:sso:::instance/ssoins-0123456789abcdef",
    },
    "QueryResultsS3AccessGrantsConfiguration": {
        "EnableS3AccessGrants": False,
        "CreateUserLevelPrefix": False,
        "AuthenticationType": "DIRECTORY_IDENTITY",
    },
    "SystemTableStatuses": [{"TableName": "QUERY_EXECUTIONS", "Enabled": False}],
}


@dataclass(frozen=True, slots=True)
class World:
    """A server with a row of every kind in every state that lasts."""

    server: Server
    athena: Any
    #: Ids by what became of them.
    sessions: Mapping[str, str]
    calculations: Mapping[str, str]
    notebook: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    encrypted = {"encrypted_disk": True}
    with serving(tmp_path_factory.mktemp("world"), objects=encrypted) as server:
        athena = server.client()
        athena.create_work_group(
            Name="full",
            Description="everything",
            Configuration=CONFIGURATION,
            Tags=[{"Key": "team", "Value": "ü"}, {"Key": "empty"}],
        )
        sessions = _sessions(server, athena)
        calculations = _calculations(athena, sessions["busy"])
        yield World(server, athena, sessions, calculations, _notebook(server, athena, sessions))


def _sessions(server: Server, athena: Any) -> dict[str, str]:
    def start(**request: Any) -> str:
        made = athena.start_session(WorkGroup="full", EngineConfiguration=ENGINE, **request)
        until(lambda: session_state(athena, made["SessionId"]) in {"IDLE", "FAILED"})
        return str(made["SessionId"])

    started = {
        name: start(Description=name, NotebookVersion="Athena notebook version 1")
        for name in ("idle", "busy", "worker", "ended")
    }
    athena.terminate_session(SessionId=started["ended"])
    until(lambda: session_state(athena, started["ended"]) == "TERMINATED")
    server.launcher.knobs.fails_to_start = "The JVM said no."
    failed = start()
    server.launcher.knobs.fails_to_start = None
    server.launcher.knobs.never_ready = True
    creating = athena.start_session(WorkGroup="full", EngineConfiguration={})["SessionId"]
    server.launcher.knobs.never_ready = False
    return started | {"failed": failed, "creating": creating}


def _notebook(server: Server, athena: Any, sessions: Mapping[str, str]) -> str:
    """One with an active session, beside another notebook."""
    notebook = NotebookId(new_notebook(athena, "ü"))
    athena.create_notebook(WorkGroup="full", Name="other")
    store = server.running.store
    bind = partial(rows.set_notebook, session_id=sessions["idle"], notebook_id=notebook)
    server.do(lambda: store.write(bind))
    return notebook


def new_notebook(athena: Any, name: str) -> str:
    return str(athena.create_notebook(WorkGroup="full", Name=name)["NotebookId"])


def _calculations(athena: Any, session_id: str) -> dict[str, str]:
    """Completed, failed, canceled, and one that runs on."""
    found = {}
    for name, code in (
        ("completed", "print('ü')"),
        ("failed", "fail why"),
        ("canceled", "hang"),
        ("running", "hang"),
    ):
        until(lambda: session_state(athena, session_id) == "IDLE")
        started = athena.start_calculation_execution(
            SessionId=session_id, CodeBlock=code, Description=name
        )
        calculation_id = found[name] = started["CalculationExecutionId"]
        if name == "canceled":
            athena.stop_calculation_execution(CalculationExecutionId=calculation_id)
        until(partial(_is, athena, calculation_id, name.upper()))
    return found


def _is(athena: Any, calculation_id: str, state: str) -> bool:
    return calculation_state(athena, calculation_id) == state


def session_state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


def calculation_state(athena: Any, calculation_id: str) -> str:
    found = athena.get_calculation_execution_status(CalculationExecutionId=calculation_id)
    return str(found["Status"]["State"])


Requests = list[dict[str, Any]]


def of_sessions(world: World) -> Requests:
    return [{"SessionId": session_id} for session_id in world.sessions.values()]


def of_calculations(world: World) -> Requests:
    return [{"CalculationExecutionId": each} for each in world.calculations.values()]


def of_arns(world: World) -> Requests:
    session = f"{ARN}/session/{world.sessions['idle']}"
    return [{"ResourceARN": arn} for arn in (ARN, session, ARN.replace("000000000000", ""))]


def of_notebook(world: World) -> Requests:
    return [{"NotebookId": world.notebook}]


def fresh(world: World) -> str:
    """The name of a workgroup that is there for one call."""
    name = f"fresh-{len(world.athena.list_work_groups()['WorkGroups'])}"
    world.athena.create_work_group(Name=name)
    return name


CONTENT = {"Type": "IPYNB", "Payload": empty()}
#: Of every operation, the requests whose answers are looked at.
CALLS: Mapping[str, Callable[[World], Requests]] = {
    "StartSession": lambda w: [{"WorkGroup": "full", "EngineConfiguration": {}}],
    "GetSession": of_sessions,
    "GetSessionStatus": of_sessions,
    "CreatePresignedNotebookUrl": lambda w: [
        {"SessionId": w.sessions[name]} for name in ("idle", "busy")
    ],
    "ListSessions": lambda w: [
        {"WorkGroup": "primary"},
        {"WorkGroup": "full"},
        {"WorkGroup": "full", "MaxResults": 1},
        *({"WorkGroup": "full", "StateFilter": state} for state in ("TERMINATED", "FAILED")),
    ],
    "TerminateSession": lambda w: [
        {"SessionId": w.sessions[name]} for name in ("ended", "failed", "creating")
    ],
    "ListExecutors": of_sessions,
    "StartCalculationExecution": lambda w: [{"SessionId": w.sessions["worker"], "CodeBlock": "1"}],
    "GetCalculationExecution": of_calculations,
    "GetCalculationExecutionStatus": of_calculations,
    "GetCalculationExecutionCode": of_calculations,
    "ListCalculationExecutions": lambda w: [
        {"SessionId": w.sessions["idle"]},
        {"SessionId": w.sessions["busy"], "MaxResults": 1},
        {"SessionId": w.sessions["busy"]},
        {"SessionId": w.sessions["busy"], "StateFilter": "FAILED"},
    ],
    "StopCalculationExecution": lambda w: [
        {"CalculationExecutionId": w.calculations[name]} for name in ("completed", "canceled")
    ],
    "CreateNotebook": lambda w: [{"WorkGroup": "full", "Name": "created"}],
    "ImportNotebook": lambda w: [{"WorkGroup": "full", "Name": "imported"} | CONTENT],
    "ExportNotebook": of_notebook,
    "GetNotebookMetadata": of_notebook,
    "ListNotebookMetadata": lambda w: [
        {"WorkGroup": "full"},
        {"WorkGroup": "full", "MaxResults": 1},
        {"WorkGroup": "full", "Filters": {"Name": "ü"}},
        {"WorkGroup": "primary"},
    ],
    "UpdateNotebook": lambda w: [
        of_notebook(w)[0] | CONTENT | {"SessionId": w.sessions["idle"]},
    ],
    "UpdateNotebookMetadata": lambda w: [
        {"NotebookId": new_notebook(w.athena, "a"), "Name": "b"},
    ],
    "DeleteNotebook": lambda w: [{"NotebookId": new_notebook(w.athena, "going")}],
    "ListNotebookSessions": of_notebook,
    "CreateWorkGroup": lambda w: [{"Name": f"{fresh(w)}-2"}],
    "UpdateWorkGroup": lambda w: [{"WorkGroup": fresh(w), "State": "DISABLED"}],
    "DeleteWorkGroup": lambda w: [{"WorkGroup": fresh(w)}],
    "GetWorkGroup": lambda w: [{"WorkGroup": name} for name in ("primary", "spark", "full")],
    "ListWorkGroups": lambda w: [{}, {"MaxResults": 1}],
    "TagResource": lambda w: [r | {"Tags": [{"Key": "k", "Value": "v"}]} for r in of_arns(w)],
    "UntagResource": lambda w: [r | {"TagKeys": ["k"]} for r in of_arns(w)],
    "ListTagsForResource": of_arns,
    "ListEngineVersions": lambda w: [{}, {"MaxResults": 1}],
    "ListApplicationDPUSizes": lambda w: [{}, {"MaxResults": 1}],
}
#: Members of answers that SparkOwl never gives, and why.
NEVER: Mapping[str, str] = {
    "ListTagsForResource.NextToken": "a page has at least 75 places, a resource at most 50 tags",
    "ListApplicationDPUSizes.NextToken": "there is one runtime",
    "ListNotebookSessions.NextToken": "a notebook has at most one session at a time",
    "ListExecutors.NextToken": "these sessions have one executor each",
    "GetWorkGroup.WorkGroup.IdentityCenterApplicationArn": "there is no IAM Identity Center",
    "ListWorkGroups.WorkGroups[].IdentityCenterApplicationArn": "there is no IAM Identity Center",
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_what_the_model_says_and_every_member_is_given(
    world: World, operation: str
) -> None:
    shape = model.operations()[operation].output_shape
    given: set[str] = set()
    looked = []

    def look(response_dict: dict[str, Any], **_: Any) -> None:
        """Behind the comparison with the model that every client of the tests makes."""
        looked.append(response_dict["status_code"])
        body = json.loads(response_dict["body"])
        given.update(f"{operation}{path}" for path in members_in(body, shape))

    client = world.server.client()
    client.meta.events.register(f"before-parse.athena.{operation}", look)
    requests = CALLS[operation](world)
    for request in requests:
        getattr(client, xform_name(operation))(**request)

    assert looked == [200] * len(requests) != []
    missing = {f"{operation}{path}" for path in members_of(shape)} - given
    assert missing <= set(NEVER)


def test_every_operation_has_its_row_and_no_other_has_one() -> None:
    assert set(CALLS) == set(OPERATIONS)


def test_what_is_never_answered_is_in_the_model() -> None:
    known = {
        f"{name}{path}"
        for name in OPERATIONS
        for path in members_of(model.operations()[name].output_shape)
    }

    assert set(NEVER) <= known


# --- the comparison itself ---------------------------------------------------------------------

STATUS: dict[str, Any] = {"State": "IDLE", "StartDateTime": 1_767_225_600.123}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("GetSessionStatus", {"SessionId": 1}),
        ("GetSessionStatus", {"SessionId": ""}),
        ("GetSessionStatus", {"Other": "x"}),
        ("GetSessionStatus", {"Status": []}),
        ("GetSessionStatus", {"Status": STATUS | {"State": "ASLEEP"}}),
        ("GetSessionStatus", {"Status": STATUS | {"StateChangeReason": "x" * 1025}}),
        ("GetSessionStatus", {"Status": STATUS | {"StartDateTime": "2026-01-01T00:00:00Z"}}),
        ("GetSessionStatus", {"Status": STATUS | {"StartDateTime": 1_767_225_600_123}}),
        ("GetSession", {"Statistics": {"DpuExecutionInMillis": 1.0}}),
        ("GetSession", {"Statistics": {"DpuExecutionInMillis": True}}),
        ("GetSession", {"EngineConfiguration": {"MaxConcurrentDpus": 1}}),
        ("GetSession", {"EngineConfiguration": {"SparkProperties": {"a": 1}}}),
        ("GetSession", {"EngineConfiguration": {"Classifications": {}}}),
        ("GetCalculationExecution", {"Result": {"ResultType": "json"}}),
        ("GetCalculationExecution", {"Statistics": {"Progress": 100}}),
        ("ListExecutors", {"ExecutorsSummary": []}),
        ("ListEngineVersions", {"EngineVersions": [{}] * 11}),
        ("GetWorkGroup", {"WorkGroup": {"Name": None}}),
        ("DeleteWorkGroup", {"Deleted": True}),
    ],
)
def test_the_comparison_sees(operation: str, body: Any) -> None:
    assert list(misfits(model.operations()[operation], body))


@pytest.mark.parametrize(
    "body",
    [
        {"__type": "InvalidRequestException"},
        {"__type": "InvalidRequestException", "Message": ""},
        {"__type": "InvalidRequestException", "Message": "x", "AthenaErrorCode": ""},
        {"__type": "InvalidRequestException", "Message": "x", "Other": "x"},
        {"__type": "MetadataException", "Message": "x"},
        {"__type": "ThrottlingException", "Message": "x", "Reason": "x"},
        {"Message": "x"},
    ],
)
def test_the_comparison_sees_in_an_error(body: Any) -> None:
    assert list(error_misfits(model.operations()["GetSession"], body))


def test_the_comparison_has_nothing_against_a_good_answer() -> None:
    good = {"SessionId": "x", "Status": STATUS}

    assert not list(misfits(model.operations()["GetSessionStatus"], good))
    assert not list(misfits(model.operations()["DeleteWorkGroup"], {}))

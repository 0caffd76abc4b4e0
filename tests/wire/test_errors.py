"""Every error that an operation can give, provoked: one table, so that one sees what is covered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from tests.serving import UNLIMITED, Server, serving, until
from tests.wire.raw import refusal

from sparkowl.domain.notebook import empty
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import model

INVALID = "InvalidRequestException"
NOT_FOUND = "ResourceNotFoundException"
TOO_MANY = "TooManyRequestsException"
ROLE = "arn:aws:iam::000000000000:role/Spark"
ACCOUNT = "arn:aws:athena:us-east-1:000000000000:"

#: Errors that the model declares and that are not given, and why.
NEVER_GIVEN: Mapping[str, Callable[[str], bool]] = {
    # A bug of ours, or a database that is gone; tests/wire/test_http.py provokes one.
    "InternalServerException": lambda operation: True,
    # Athena says InvalidRequestException for a session, calculation or workgroup that is not there,
    # and clients rely on it; only an ARN that names nothing is not found.
    NOT_FOUND: lambda operation: (
        not operation.endswith(("TagResource", "TagsForResource")) and operation != "UntagResource"
    ),
    # Of StartSession.
    "SessionAlreadyExistsException": lambda operation: True,
    # Nothing there is limited in number; calls in a short time are throttled.
    TOO_MANY: lambda operation: operation == "ListApplicationDPUSizes" or "Notebook" in operation,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the errors are provoked: names and ids that are there."""

    server: Server
    athena: Any
    idle: str
    ended: str
    #: Sessions of Athena's other Spark engines.
    pyspark3: str
    spark35: str


def _group(athena: Any, name: str, engine: str, **configuration: Any) -> None:
    athena.create_work_group(
        Name=name,
        Configuration={
            "EngineVersion": {"SelectedEngineVersion": engine},
            "ExecutionRole": ROLE,
            **configuration,
        },
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("errors")) as server:
        athena = server.client()
        _group(athena, "pyspark3", "PySpark engine version 3")
        _group(athena, "spark35", "Apache Spark version 3.5")
        _group(athena, "closed", "Apache Spark version 4.1")
        athena.create_work_group(Name="sql")

        def session(group: str) -> str:
            started = athena.start_session(WorkGroup=group, EngineConfiguration={})
            session_id = str(started["SessionId"])
            until(lambda: state(athena, session_id) == "IDLE")
            return session_id

        in_closed = session("closed")
        athena.update_work_group(WorkGroup="closed", State="DISABLED")
        ended = session("spark")
        athena.terminate_session(SessionId=ended)
        until(lambda: state(athena, ended) == "TERMINATED")
        found = Place(server, athena, in_closed, ended, session("pyspark3"), session("spark35"))
        yield found


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


@dataclass(frozen=True, slots=True)
class Row:
    """One error: the request, or how it is made from the place, and words that the text has."""

    operation: str
    request: Mapping[str, Any] | Callable[[Place], Mapping[str, Any]]
    says: str
    code: str = INVALID

    def __str__(self) -> str:
        return f"{self.operation}: {self.says[:50]}"


START: dict[str, Any] = {"WorkGroup": "spark", "EngineConfiguration": {}}
NOWHERE: dict[str, Any] = {"SessionId": "nowhere"}
NO_CALCULATION: dict[str, Any] = {"CalculationExecutionId": "nowhere"}
TAG = {"Key": "k", "Value": "v"}
NO_NOTEBOOK: dict[str, Any] = {"NotebookId": "00000000-0000-4000-8000-000000000000"}
NO_CALCULATIONS = "Calculations are not supported for Apache Spark version 3.5"
BAD_TOKEN = "NextToken is not one that this operation gave for this request."
NOT_NULL = "failed to satisfy constraint: Member must not be null"


def start(**changes: Any) -> dict[str, Any]:
    return START | changes


def engine(group: str, **configuration: Any) -> dict[str, Any]:
    return {"WorkGroup": group, "EngineConfiguration": configuration}


def new(name: str = "new", **configuration: Any) -> dict[str, Any]:
    return {"Name": name, "Configuration": configuration}


def new_spark(**configuration: Any) -> dict[str, Any]:
    version = {"SelectedEngineVersion": "Apache Spark version 4.1"}
    return new(**({"EngineVersion": version, "ExecutionRole": ROLE} | configuration))


def updates(group: str = "sql", **configuration: Any) -> dict[str, Any]:
    return {"WorkGroup": group, "ConfigurationUpdates": configuration}


def tags(count: int, **first: str) -> list[dict[str, str]]:
    made = [{"Key": f"k{number}", "Value": "v"} for number in range(count)]
    return [first, *made] if first else made


def of_arn(operation: str, arn: str) -> dict[str, Any]:
    more: dict[str, dict[str, Any]] = {
        "TagResource": {"Tags": [TAG]},
        "UntagResource": {"TagKeys": ["k"]},
    }
    return {"ResourceARN": arn, **more.get(operation, {})}


ROWS = [
    # --- StartSession
    Row("StartSession", {}, NOT_NULL),
    Row("StartSession", start(WorkGroup="nowhere"), "WorkGroup nowhere is not found."),
    Row("StartSession", start(WorkGroup="closed"), "WorkGroup closed is disabled."),
    Row("StartSession", start(WorkGroup="sql"), "Workgroup EngineVersion is not Spark."),
    Row("StartSession", engine("spark", MaxConcurrentDpus=61), "at most 60 DPUs"),
    Row(
        "StartSession",
        engine("spark", AdditionalConfigs={"NotebookId": "x"}),
        "NotebookVersion is required when NotebookId is provided.",
    ),
    Row(
        "StartSession",
        engine("spark", AdditionalConfigs={"NotebookFileURI": "s3://b/x.ipynb"}),
        "NotebookVersion is required when NotebookFileURI is provided.",
    ),
    Row(
        "StartSession",
        engine("spark") | {"NotebookVersion": "1"},
        "NotebookVersion must be 'Athena notebook version 1' or 'Jupyter1.0', not '1'.",
    ),
    Row(
        "StartSession",
        engine("spark", AdditionalConfigs={"NotebookId": "x"}) | {"NotebookVersion": "Jupyter1.0"},
        "EngineConfiguration.AdditionalConfigs.NotebookId: notebook x is not found in workgroup",
    ),
    Row(
        "StartSession",
        engine("spark", AdditionalConfigs={"NotebookFileURI": "http://a.example/x.ipynb"})
        | {"NotebookVersion": "Jupyter1.0"},
        "EngineConfiguration.AdditionalConfigs.NotebookFileURI must be of the form",
    ),
    Row("StartSession", start(Tags=tags(51)), "at most 50 tags"),
    Row("StartSession", start(Tags=[{"Value": "v"}]), "Tags.1.Key is required."),
    Row("StartSession", start(Tags=[{"Key": "aws:x"}]), "begins with aws:, which is reserved"),
    Row("StartSession", start(Tags=[TAG, TAG]), "Tags.2.Key k is given more than once."),
    Row("StartSession", start(Tags=[{"Key": "a\n"}]), "may hold letters, digits, blanks"),
    Row("StartSession", start(ExecutionRole="x" * 20), "regular expression pattern"),
    # ... what the engines refuse, each by its name
    *(
        Row(
            "StartSession",
            engine("spark35", **{name: value}),
            f"EngineConfiguration.{name} is not supported for Apache Spark version 3.5.",
        )
        for name, value in (
            ("CoordinatorDpuSize", 1),
            ("DefaultExecutorDpuSize", 1),
            ("SparkProperties", {"spark.sql.ansi.enabled": "true"}),
        )
    ),
    Row(
        "StartSession",
        start(WorkGroup="spark35", NotebookVersion="Athena notebook version 1"),
        "NotebookVersion is not supported for Apache Spark version 3.5.",
    ),
    Row(
        "StartSession",
        engine("pyspark3", Classifications=[{"Name": "spark-defaults", "Properties": {}}]),
        "EngineConfiguration.Classifications is not supported for PySpark engine version 3.",
    ),
    Row(
        "StartSession",
        engine("spark35", Classifications=[{"Name": "hive-site", "Properties": {}}]),
        "Name must be spark-defaults, not hive-site.",
    ),
    Row(
        "StartSession",
        engine("spark", Classifications=[{"Name": "spark-defaults"}] * 2),
        "names spark-defaults more than once",
    ),
    # --- sessions and calculations that are not there, or not so
    *(
        Row(operation, NOWHERE, "Session nowhere is not found.")
        for operation in (
            "GetSession", "GetSessionStatus", "TerminateSession", "ListExecutors",
            "ListCalculationExecutions", "CreatePresignedNotebookUrl",
        )
    ),
    Row(
        "CreatePresignedNotebookUrl",
        lambda p: {"SessionId": p.idle},
        "has no notebook: it was started without NotebookVersion",
    ),
    Row(
        "StartCalculationExecution",
        NOWHERE | {"CodeBlock": "1"},
        "Session nowhere is not found.",
    ),
    *(
        Row(operation, NO_CALCULATION, "Calculation execution nowhere is not found.")
        for operation in (
            "GetCalculationExecution", "GetCalculationExecutionStatus",
            "GetCalculationExecutionCode", "StopCalculationExecution",
        )
    ),
    Row(
        "StartCalculationExecution",
        lambda p: {"SessionId": p.ended, "CodeBlock": "1"},
        "Session is in the TERMINATED state; needs to be IDLE to accept Calculations.",
    ),
    Row(
        "StartCalculationExecution",
        lambda p: {"SessionId": p.idle, "CodeBlock": "1"},
        "WorkGroup closed is disabled.",
    ),
    Row("StartCalculationExecution", lambda p: {"SessionId": p.pyspark3}, "CodeBlock is required."),
    Row(
        "StartCalculationExecution",
        lambda p: {"SessionId": p.pyspark3, "CodeBlock": "x" * 68_001},
        "at 'codeBlock' failed to satisfy constraint: Member must have length less than or equal "
        "to 68000",
    ),
    Row(
        "StartCalculationExecution",
        lambda p: {"SessionId": p.spark35, "CodeBlock": "1"},
        NO_CALCULATIONS,
    ),
    Row("ListCalculationExecutions", lambda p: {"SessionId": p.spark35}, NO_CALCULATIONS),
    # --- pages
    Row("ListSessions", {"WorkGroup": "nowhere"}, "WorkGroup nowhere is not found."),
    Row("ListSessions", {"WorkGroup": "spark", "NextToken": "x"}, BAD_TOKEN),
    Row("ListExecutors", lambda p: {"SessionId": p.idle, "NextToken": "x"}, BAD_TOKEN),
    Row(
        "ListCalculationExecutions",
        lambda p: {"SessionId": p.idle, "NextToken": "x"},
        BAD_TOKEN,
    ),
    *(
        Row(operation, {"NextToken": "x"}, BAD_TOKEN)
        for operation in ("ListWorkGroups", "ListEngineVersions", "ListApplicationDPUSizes")
    ),
    Row(
        "ListTagsForResource",
        {"ResourceARN": f"{ACCOUNT}workgroup/sql", "NextToken": "x"},
        BAD_TOKEN,
    ),
    Row(
        "ListTagsForResource",
        {"ResourceARN": f"{ACCOUNT}workgroup/sql", "MaxResults": 74},
        "Member must have value greater than or equal to 75",
    ),
    # --- notebooks; more in test_notebooks.py
    *(
        Row(operation, NO_NOTEBOOK | more, "Notebook 00000000-0000-4000-8000-000000000000 is not")
        for operation, more in (
            ("ExportNotebook", {}), ("GetNotebookMetadata", {}), ("DeleteNotebook", {}),
            ("ListNotebookSessions", {}), ("UpdateNotebookMetadata", {"Name": "x"}),
            ("UpdateNotebook", {"Type": "IPYNB", "Payload": empty()}),
        )
    ),
    Row("CreateNotebook", {"WorkGroup": "closed", "Name": "x"}, "WorkGroup closed is disabled."),
    Row(
        "CreateNotebook",
        {"WorkGroup": "spark35", "Name": "x"},
        "A notebook is not supported for Apache Spark version 3.5.",
    ),
    Row(
        "ImportNotebook",
        {"WorkGroup": "spark", "Name": "x", "Type": "IPYNB"},
        "Exactly one of Payload and NotebookS3LocationUri must be given.",
    ),
    Row("ListNotebookMetadata", {"WorkGroup": "nowhere"}, "WorkGroup nowhere is not found."),
    Row("ListNotebookMetadata", {"WorkGroup": "spark", "NextToken": "x"}, BAD_TOKEN),
    # --- workgroups
    Row("GetWorkGroup", {"WorkGroup": "nowhere"}, "WorkGroup nowhere is not found."),
    Row("UpdateWorkGroup", {"WorkGroup": "nowhere"}, "WorkGroup nowhere is not found."),
    Row("DeleteWorkGroup", {"WorkGroup": "nowhere"}, "WorkGroup nowhere is not found."),
    Row("DeleteWorkGroup", {"WorkGroup": "primary"}, "WorkGroup primary cannot be deleted."),
    Row("DeleteWorkGroup", {"WorkGroup": "pyspark3"}, "is not empty: 1 of its sessions are live"),
    Row("CreateWorkGroup", new("sql"), "WorkGroup sql is already created."),
    Row("CreateWorkGroup", new("primary"), "WorkGroup primary is already created."),
    Row("CreateWorkGroup", new("a b"), "regular expression pattern"),
    Row(
        "CreateWorkGroup",
        new() | {"Tags": []},
        "Tags provided upon WorkGroup creation must not be empty",
    ),
    Row("CreateWorkGroup", new() | {"Tags": tags(51)}, "at most 50 tags; this one would have 51"),
    Row("CreateWorkGroup", new() | {"Tags": [{"Key": "AWS:x"}]}, "which is reserved"),
    Row("CreateWorkGroup", new() | {"Tags": [{"Key": "<"}]}, "may hold letters, digits, blanks"),
    Row("CreateWorkGroup", new() | {"Tags": [{"Key": "k" * 129}]}, "less than or equal to 128"),
    Row(
        "CreateWorkGroup",
        new() | {"Tags": [TAG | {"Value": "v" * 257}]},
        "less than or equal to 256",
    ),
    Row("CreateWorkGroup", new() | {"Description": "d" * 1025}, "less than or equal to 1024"),
    *(
        Row(
            "CreateWorkGroup",
            new(EngineVersion={"SelectedEngineVersion": name}),
            "executionRole is null or empty",
        )
        for name in (
            "PySpark engine version 3", "Apache Spark version 3.5", "Apache Spark version 4.1",
        )
    ),
    Row(
        "CreateWorkGroup",
        new(EngineVersion={"SelectedEngineVersion": "Spark 9"}),
        "EngineVersion.SelectedEngineVersion Spark 9 is not one of: AUTO, ",
    ),
    *(
        Row(
            "CreateWorkGroup",
            new(ResultConfiguration={"OutputLocation": location}),
            "is not of the form s3://bucket/prefix.",
        )
        for location in ("", "s3:/x", "file:///etc", "s3://Upper/x", "s3://x")
    ),
    Row(
        "CreateWorkGroup",
        new(ResultConfiguration={"OutputLocation": f"s3://bucket/{'x' * 900}"}),
        "ResultConfiguration.OutputLocation has 912 characters; at most 900 are allowed.",
    ),
    *(
        Row(
            "CreateWorkGroup",
            new(ResultConfiguration={"EncryptionConfiguration": {"EncryptionOption": option}}),
            f"EncryptionConfiguration.KmsKey is required for {option}.",
        )
        for option in ("SSE_KMS", "CSE_KMS")
    ),
    Row("CreateWorkGroup", new(BytesScannedCutoffPerQuery=1), "equal to 10000000"),
    Row(
        "CreateWorkGroup",
        new_spark(EngineConfiguration={"Classifications": [{"Name": "x"}]}),
        "Name must be spark-defaults, not x.",
    ),
    Row(
        "CreateWorkGroup",
        new_spark(
            EngineVersion={"SelectedEngineVersion": "Apache Spark version 3.5"},
            EngineConfiguration={"SparkProperties": {}},
        ),
        "EngineConfiguration.SparkProperties is not supported for Apache Spark version 3.5.",
    ),
    *(
        Row(
            "UpdateWorkGroup",
            updates(group, EngineVersion={"SelectedEngineVersion": name}),
            "which cannot be changed to",
        )
        for group, name in (
            ("sql", "PySpark engine version 3"),
            ("spark", "AUTO"),
            ("pyspark3", "Apache Spark version 3.5"),
            ("spark35", "Apache Spark version 4.1"),
        )
    ),
    Row(
        "UpdateWorkGroup",
        updates(EngineVersion={"SelectedEngineVersion": "Spark 9"}),
        "is not one of: AUTO, ",
    ),
    Row(
        "UpdateWorkGroup",
        updates(BytesScannedCutoffPerQuery=10**7, RemoveBytesScannedCutoffPerQuery=True),
        "BytesScannedCutoffPerQuery and RemoveBytesScannedCutoffPerQuery exclude each other.",
    ),
    Row(
        "UpdateWorkGroup",
        updates(ResultConfigurationUpdates={"OutputLocation": "x"}),
        "is not of the form s3://bucket/prefix.",
    ),
    Row(
        "UpdateWorkGroup",
        updates("pyspark3", EngineConfiguration={"Classifications": []}),
        "EngineConfiguration.Classifications is not supported for PySpark engine version 3.",
    ),
    Row("UpdateWorkGroup", {"WorkGroup": "sql", "State": "OPEN"}, "enum value set"),
    # --- tags
    *(
        Row(operation, of_arn(operation, arn), says, code)
        for operation in ("TagResource", "UntagResource", "ListTagsForResource")
        for arn, says, code in (
            (f"{ACCOUNT}workgroup/nowhere", "WorkGroup nowhere is not found.", NOT_FOUND),
            (f"{ACCOUNT}workgroup/sql/session/x-1", "Session x-1 is not found.", NOT_FOUND),
            (f"{ACCOUNT}datacatalog/x", "is not the ARN of a workgroup", INVALID),
            ("nonsense", "is not the ARN of a workgroup", INVALID),
            (f"{ACCOUNT}workgroup/sql".replace("us-east-1", "x"), "of another region", INVALID),
            (f"{ACCOUNT}workgroup/sql".replace("0000:", "0001:"), "of another region", INVALID),
            ("x" * 1012, "length less than or equal to 1011", INVALID),
        )
    ),
    Row(
        "TagResource",
        {"ResourceARN": f"{ACCOUNT}workgroup/sql", "Tags": tags(51)},
        "at most 50 tags; this one would have 51",
    ),
    *(
        Row(
            "TagResource",
            {"ResourceARN": f"{ACCOUNT}workgroup/sql", "Tags": [bad]},
            says,
        )
        for bad, says in (
            ({"Value": "v"}, "Tags.1.Key is required."),
            ({"Key": ""}, "length greater than or equal to 1"),
            ({"Key": "Aws:x"}, "Tags.1.Key Aws:x begins with aws:, which is reserved."),
            ({"Key": "k", "Value": "a\tb"}, "Tags.1.Value may hold letters, digits, blanks"),
            ({"Key": "k;"}, "Tags.1.Key may hold letters, digits, blanks"),
        )
    ),
    Row(
        "UntagResource",
        {"ResourceARN": f"{ACCOUNT}workgroup/sql", "TagKeys": ["aws:x"]},
        "begins with aws:, which is reserved",
    ),
]  # fmt: skip


def refused(athena: Any, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a request that must be refused; compared with the model by the client."""
    with pytest.raises(ClientError) as raised:
        getattr(athena, xform_name(operation))(**request)
    answer: dict[str, Any] = raised.value.response
    return answer


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_refusal_has_awss_code_and_words_and_leaves_nothing_behind(
    place: Place, row: Row
) -> None:
    request = row.request if isinstance(row.request, Mapping) else row.request(place)
    before = rows_of(place.server)

    answer = refused(place.athena, row.operation, request)

    assert answer["Error"]["Code"] == row.code
    assert row.says in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer.get("AthenaErrorCode") == ("INVALID_INPUT" if row.code == INVALID else None)
    if row.code == NOT_FOUND:
        assert answer["ResourceName"] == request["ResourceARN"]
    assert rows_of(place.server) == before


def rows_of(server: Server) -> dict[str, list[Any]]:
    """All that calls write."""
    tables = ("workgroups", "sessions", "calculations", "tags", "request_tokens", "drivers",
              "notebooks", "notebook_versions")  # fmt: skip

    def read(tx: Any) -> dict[str, list[Any]]:
        return {
            name: [tuple(row) for row in tx.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in tables
        }

    found: dict[str, list[Any]] = server.do(lambda: server.running.store.read(read))
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_of_an_operation_that_can_be_given_has_a_row(operation: str) -> None:
    """TooManyRequestsException has its tests below."""
    given = {row.code for row in ROWS if row.operation == operation} | {TOO_MANY}
    due = {
        code
        for code in model.declared_errors(operation)
        if code not in NEVER_GIVEN or not NEVER_GIVEN[code](operation)
    }

    assert due <= given


# --- too many ----------------------------------------------------------------------------------


@contextmanager
def limited(tmp_path: Any, **limits: Any) -> Iterator[tuple[Server, Any]]:
    with serving(tmp_path, limits=limits) as server:
        yield server, server.client()


def too_many(athena: Any) -> str:
    answer = refused(athena, "StartSession", START)
    assert answer["Error"]["Code"] == TOO_MANY
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(answer["Error"]["Message"])


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"sessions": 1}, "Maximum allowed sessions reached: 1."),
        ({"account_dpus": 1}, "Maximum concurrent DPUs reached: 1."),
        ({"workgroup_sessions": 1}, "Maximum allowed sessions reached: 1 in WorkGroup spark."),
        ({"workgroup_dpus": 1}, "Maximum concurrent DPUs reached: 1 in WorkGroup spark."),
    ],
)
def test_a_quota_is_told_in_awss_words_and_a_session_that_ends_makes_room(
    tmp_path: Any, limits: dict[str, int], says: str
) -> None:
    with limited(tmp_path, **limits) as (server, athena):
        first = athena.start_session(**START)["SessionId"]

        assert too_many(athena) == says
        assert [row[0] for row in rows_of(server)["sessions"]] == [first]

        athena.terminate_session(SessionId=first)
        until(lambda: state(athena, first) == "TERMINATED")
        assert athena.start_session(**START)["State"] == "CREATING"


def test_a_host_without_room_says_so_and_takes_the_next_start_when_it_has(tmp_path: Any) -> None:
    with limited(tmp_path) as (server, athena):
        server.launcher.knobs.no_room = "only 3 MB of memory are free"

        said = too_many(athena)

        assert "required capacity not being available: only 3 MB of memory are free." in said
        assert rows_of(server)["sessions"] == []
        server.launcher.knobs.no_room = None
        assert athena.start_session(**START)["State"] == "CREATING"


def test_a_queue_that_is_full_is_one_too_many_and_a_place_in_it_is_told(tmp_path: Any) -> None:
    with limited(tmp_path, sessions=1, queue_when_full=True, queue_length=1) as (_, athena):
        first = athena.start_session(**START)["SessionId"]
        until(lambda: state(athena, first) == "IDLE")
        second = athena.start_session(**START)["SessionId"]

        assert "Maximum allowed sessions reached" in too_many(athena)

        status = athena.get_session(SessionId=second)["Status"]
        assert (status["State"], "1" in status["StateChangeReason"]) == ("CREATING", True)
        athena.terminate_session(SessionId=first)
        until(lambda: state(athena, second) == "IDLE")


# --- errors that any operation can give --------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    rate = {"per_s": 0.001, "burst": 1}
    with serving(
        tmp_path_factory.mktemp("slow"),
        rates={"reads": rate, "writes": rate, "operations": {"ListSessions": UNLIMITED}},
    ) as server:
        yield server


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"ListSessions"}))
def test_a_call_too_soon_after_another_of_its_kind_is_throttled(
    slow: Server, operation: str
) -> None:
    target = f"AmazonAthena.{operation}"

    first = refusal(slow, b"[]", X_Amz_Target=target)
    second = refusal(slow, b"[]", X_Amz_Target=target)

    assert first[:2] == (400, INVALID)
    assert second == (400, "ThrottlingException", "Rate exceeded")


def test_an_operation_with_a_rate_of_its_own_has_that_one(slow: Server) -> None:
    athena = slow.client()

    for _ in range(5):
        assert athena.list_sessions(WorkGroup="spark")["Sessions"] == []


def test_boto3_tries_a_throttled_call_again_by_itself(tmp_path: Any) -> None:
    rate = {"per_s": 20, "burst": 1}
    with serving(tmp_path, rates={"reads": rate, "writes": rate}) as server:
        athena = server.client(retries={"mode": "legacy", "max_attempts": 4})
        athena.list_work_groups()

        answer = athena.list_work_groups()

    assert answer["ResponseMetadata"]["RetryAttempts"] > 0


@pytest.mark.parametrize("operation", sorted(set(model.operations()) - set(OPERATIONS)))
def test_an_operation_of_athena_sql_or_notebooks_is_unknown(place: Place, operation: str) -> None:
    found = refusal(place.server, b"{}", X_Amz_Target=f"AmazonAthena.{operation}")

    assert found == (
        400,
        "UnknownOperationException",
        f"{operation} is an operation of Athena that SparkOwl has not built.",
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_answers_a_request_whose_signature_is_not_right(
    place: Place, operation: str
) -> None:
    other, unknown = place.server.client(secret="x" * 40), place.server.client(key_id="A" * 20)

    assert refused(other, operation, {})["Error"]["Code"] == "InvalidSignatureException"
    assert refused(unknown, operation, {})["Error"]["Code"] == "UnrecognizedClientException"
    for how, code in (
        ({"sign": False}, "MissingAuthenticationTokenException"),
        ({"sign": False, "Authorization": "AWS4-HMAC-SHA256"}, "IncompleteSignatureException"),
        ({"service": "s3"}, "InvalidSignatureException"),
    ):
        found = refusal(place.server, json.dumps({}).encode(),
                        X_Amz_Target=f"AmazonAthena.{operation}", **how)  # fmt: skip
        assert found[:2] == (403, code)

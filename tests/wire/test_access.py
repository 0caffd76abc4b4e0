"""Two principals at Athena's door: what each may do, and what neither may learn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from tests.keys import Statement, allow, deny, registered, work_group
from tests.serving import Server, serving, until

from sparkowl.domain.access_key import Event
from sparkowl.domain.engine import SPARK_4_1
from sparkowl.domain.notebook import empty
from sparkowl.domain.workgroup import State, WorkGroup
from sparkowl.operations import OPERATIONS
from sparkowl.operations.access import FURTHER, RULES
from sparkowl.protocol import model
from sparkowl.store import sessions, workgroups
from sparkowl.store.tables import tags

SPARK = work_group("spark")
TAGGED = work_group("tagged")
ROLE = "arn:aws:iam::000000000000:role/analyst"
START: dict[str, Any] = {"WorkGroup": "spark", "EngineConfiguration": {}}
NOTEBOOK = "Athena notebook version 1"
DENIED = "AccessDeniedException"
_numbers = itertools.count()


@dataclass(frozen=True)
class World:
    """A server with a session and a calculation in ``spark``, and other workgroups beside it."""

    server: Server
    session: str
    calculation: str
    notebook: str

    def principal(self, *statements: Statement) -> Any:
        """The client of a new principal."""
        key = self.server.principal(f"p{next(_numbers)}", *statements)
        return self.server.client_of(key)


def group(name: str) -> Callable[[Any], None]:
    """Writes a workgroup, with a tag."""
    engine = {"SelectedEngineVersion": SPARK_4_1, "EffectiveEngineVersion": SPARK_4_1}

    def write(tx: Any) -> None:
        spark = workgroups.get(tx, "spark")
        made = WorkGroup(
            name=name,
            state=State.ENABLED,
            description=None,
            configuration={"EngineVersion": engine},
            created_at=spark.created_at,
        )
        workgroups.insert_work_group(tx, made)
        tx.execute(tags.insert().values(resource=f"workgroup/{name}", key="team", value="a"))

    return write


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    limits = {"sessions": 500, "account_dpus": 500}
    with serving(tmp_path_factory.mktemp("access"), limits=limits) as server:
        for name in ("tagged", *(f"team-{n}" for n in range(9))):
            server.do(partial(server.running.store.write, group(name)))
        athena = server.client()
        session = athena.start_session(**START, NotebookVersion=NOTEBOOK)["SessionId"]
        until(lambda: state(athena, session) == "IDLE")
        started = athena.start_calculation_execution(SessionId=session, CodeBlock="1")
        notebook = athena.create_notebook(WorkGroup="spark", Name="n")["NotebookId"]
        yield World(server, session, started["CalculationExecutionId"], notebook)


def state(athena: Any, session: str) -> str:
    return str(athena.get_session_status(SessionId=session)["Status"]["State"])


def code_of(athena: Any, operation: str, request: dict[str, Any]) -> str:
    """The error of a call; ``ok`` without one."""
    method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
    try:
        getattr(athena, method.replace("dpusizes", "dpu_sizes"))(**request)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def request_for(world: World, operation: str) -> dict[str, Any]:
    by_session = {"SessionId": world.session}
    by_calculation = {"CalculationExecutionId": world.calculation}
    by_notebook = {"NotebookId": world.notebook}
    new = {"WorkGroup": "spark", "Name": f"made-{next(_numbers)}"}
    content = {"Type": "IPYNB", "Payload": empty()}
    requests: dict[str, dict[str, Any]] = {
        "StartSession": START,
        "GetSession": by_session,
        "GetSessionStatus": by_session,
        "ListSessions": {"WorkGroup": "spark"},
        "TerminateSession": by_session,
        "CreatePresignedNotebookUrl": by_session,
        "ListExecutors": by_session,
        "StartCalculationExecution": by_session | {"CodeBlock": "1"},
        "GetCalculationExecution": by_calculation,
        "GetCalculationExecutionStatus": by_calculation,
        "GetCalculationExecutionCode": by_calculation,
        "ListCalculationExecutions": by_session,
        "StopCalculationExecution": by_calculation,
        "CreateNotebook": new,
        "ImportNotebook": new | content,
        "ExportNotebook": by_notebook,
        "GetNotebookMetadata": by_notebook,
        "ListNotebookMetadata": {"WorkGroup": "spark"},
        "UpdateNotebook": by_notebook | content,
        "UpdateNotebookMetadata": by_notebook | {"Name": new["Name"]},
        "DeleteNotebook": by_notebook,
        "ListNotebookSessions": by_notebook,
        "CreateWorkGroup": {"Name": f"made-{next(_numbers)}"},
        "GetWorkGroup": {"WorkGroup": "spark"},
        "UpdateWorkGroup": {"WorkGroup": "spark", "Description": "Sessions on Apache Spark 4.1"},
        "DeleteWorkGroup": {"WorkGroup": "no-such-group"},
        "ListWorkGroups": {},
        "ListEngineVersions": {},
        "ListApplicationDPUSizes": {},
        "TagResource": {"ResourceARN": TAGGED, "Tags": [{"Key": "a", "Value": "b"}]},
        "UntagResource": {"ResourceARN": TAGGED, "TagKeys": ["a"]},
        "ListTagsForResource": {"ResourceARN": TAGGED},
    }
    return requests[operation]


#: What ends the session or notebook that other tests use comes when nobody may do it.
IN_ORDER = sorted(set(OPERATIONS) - {"TerminateSession", "DeleteNotebook"})


def test_every_operation_has_a_rule() -> None:
    assert set(OPERATIONS) <= set(RULES) <= set(model.operations())
    assert set(FURTHER) <= set(RULES)


@pytest.mark.parametrize("operation", IN_ORDER)
def test_an_operation_needs_its_own_permission_on_its_workgroup(
    world: World, operation: str
) -> None:
    request = request_for(world, operation)
    one = world.principal(allow(f"athena:{operation}", ["*"]))
    narrow = world.principal(
        allow(f"athena:{operation}", [SPARK, TAGGED, work_group("made-*"), work_group("no-such-*")])
    )

    assert code_of(one, operation, request) != DENIED
    everywhere = operation in {"ListWorkGroups", "ListEngineVersions", "ListApplicationDPUSizes"}
    assert (code_of(narrow, operation, request_for(world, operation)) == DENIED) is everywhere


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_who_may_everything_else_is_refused_in_athenas_words(world: World, operation: str) -> None:
    request = request_for(world, operation)
    other = [name for name in RULES if name != operation]
    for statements in (
        [allow("*"), deny(f"athena:{operation}")],
        [allow([f"athena:{name}" for name in other])],
        [allow("*", [work_group("other"), "arn:aws:s3:::*"])],
    ):
        athena = world.principal(*statements)
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        with pytest.raises(ClientError) as refused:
            getattr(athena, method.replace("dpusizes", "dpu_sizes"))(**request)
        error = refused.value.response
        assert error["Error"]["Code"] == DENIED
        assert error["Error"]["Message"] == (
            f"You are not authorized to perform: athena:{operation} on the resource."
        )
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert state(world.server.client(), world.session) in {"IDLE", "BUSY"}


def test_terminating_needs_its_permission(world: World) -> None:
    session = world.server.client().start_session(**START)["SessionId"]
    athena = world.principal(allow("athena:TerminateSession", SPARK))

    assert athena.terminate_session(SessionId=session)["State"] in {"TERMINATING", "TERMINATED"}


def test_deleting_a_notebook_needs_its_permission(world: World) -> None:
    made = world.server.client().create_notebook(WorkGroup="spark", Name="going")["NotebookId"]
    other = world.principal(allow("athena:*", TAGGED), allow("athena:Get*", SPARK))

    assert code_of(other, "DeleteNotebook", {"NotebookId": made}) == DENIED
    world.principal(allow("athena:DeleteNotebook", SPARK)).delete_notebook(NotebookId=made)


def test_a_notebook_is_imported_only_from_where_its_caller_may_read(world: World) -> None:
    s3 = world.server.client("s3")
    for key in ("mine/a.ipynb", "yours/a.ipynb"):
        s3.put_object(Bucket="sparkowl-results", Key=key, Body=empty().encode())
    athena = world.principal(
        allow("athena:*", SPARK),
        allow("s3:GetObject", "arn:aws:s3:::sparkowl-results/mine/*"),
        allow("s3:PutObject"),
    )

    def take(uri: str) -> str:
        new = {"WorkGroup": "spark", "Name": f"taken-{next(_numbers)}", "Type": "IPYNB"}
        return code_of(athena, "ImportNotebook", new | {"NotebookS3LocationUri": uri})

    assert take("s3://sparkowl-results/mine/a.ipynb") == "ok"
    assert take("S3://sparkowl-results/mine/a.ipynb") == "ok"
    assert take("s3://sparkowl-results/mine/gone") == "InvalidRequestException"
    # There or not, it is not told.
    for uri in ("yours/a.ipynb", "yours/gone", "mine", "mine/../yours/a.ipynb"):
        expected = "InvalidRequestException" if "/.." in uri else DENIED
        assert take(f"s3://sparkowl-results/{uri}") == expected
    assert take("s3://no-such-bucket/mine/a.ipynb") == DENIED
    assert take("https://example.com/a.ipynb") == "InvalidRequestException"


# --- what is not told --------------------------------------------------------------------------


def test_who_has_no_rights_cannot_tell_what_is_there_from_what_is_not(world: World) -> None:
    blind = world.principal(allow("athena:*", work_group("team-1")))

    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("GetWorkGroup", {"WorkGroup": "spark"}, {"WorkGroup": "no-such-group"}),
        ("ListSessions", {"WorkGroup": "spark"}, {"WorkGroup": "no-such-group"}),
        ("StartSession", START, START | {"WorkGroup": "no-such-group"}),
        ("GetSession", {"SessionId": world.session}, {"SessionId": str(uuid4())}),
        ("TerminateSession", {"SessionId": world.session}, {"SessionId": str(uuid4())}),
        (
            "GetCalculationExecution",
            {"CalculationExecutionId": world.calculation},
            {"CalculationExecutionId": str(uuid4())},
        ),
        ("ExportNotebook", {"NotebookId": world.notebook}, {"NotebookId": str(uuid4())}),
    ]
    for operation, there, missing in pairs:
        assert code_of(blind, operation, there) == code_of(blind, operation, missing) == DENIED


def test_who_may_act_everywhere_is_told_that_there_is_none(world: World) -> None:
    athena = world.principal(allow("athena:*", work_group("*")))

    for operation, request in [
        ("GetWorkGroup", {"WorkGroup": "no-such-group"}),
        ("GetSession", {"SessionId": str(uuid4())}),
        ("GetCalculationExecution", {"CalculationExecutionId": str(uuid4())}),
        ("ExportNotebook", {"NotebookId": str(uuid4())}),
    ]:
        assert code_of(athena, operation, request) == "InvalidRequestException"


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_list_shows_what_the_caller_may_look_at_in_full_pages(world: World, size: int) -> None:
    athena = world.principal(
        allow("athena:ListWorkGroups"),
        allow("athena:GetWorkGroup", [work_group("team-?"), work_group("primary")]),
        deny("athena:GetWorkGroup", work_group("team-4")),
    )
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        page = athena.list_work_groups(MaxResults=size, **token)
        pages.append([one["Name"] for one in page["WorkGroups"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}

    wanted = ["primary", *(f"team-{n}" for n in range(9) if n != 4)]
    assert list(itertools.chain(*pages)) == wanted
    assert all(len(page) == size for page in pages[:-1])
    assert pages[-1]


def test_who_may_look_at_nothing_gets_an_empty_list(world: World) -> None:
    athena = world.principal(allow("athena:ListWorkGroups"))

    assert athena.list_work_groups(MaxResults=1)["WorkGroups"] == []


# --- tags, roles -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "needed", "resource"),
    [
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "athena:TagResource", SPARK),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "athena:TagResource", f"{SPARK}/session/*"),
        ({"WorkGroup": "tagged"}, "athena:ListTagsForResource", work_group("tagged")),
        ({"ExecutionRole": ROLE}, "iam:PassRole", ROLE),
    ],
)
def test_a_start_needs_more_for_tags_and_roles(
    world: World, changes: dict[str, Any], needed: str, resource: str
) -> None:
    request = START | changes
    start = allow("athena:StartSession", work_group("*"))
    without = world.principal(start)

    with pytest.raises(ClientError) as refused:
        without.start_session(**request)
    assert refused.value.response["Error"]["Message"] == (
        f"You are not authorized to perform: {needed} on the resource."
    )
    assert code_of(world.principal(start, allow(needed, resource)), "StartSession", request) == "ok"
    wrong = world.principal(start, allow(needed, work_group("other")))
    assert code_of(wrong, "StartSession", request) == DENIED


def test_tags_that_are_not_copied_need_no_permission(world: World) -> None:
    athena = world.principal(allow("athena:StartSession", work_group("tagged")))
    request = {"WorkGroup": "tagged", "EngineConfiguration": {}, "CopyWorkGroupTags": False}

    assert code_of(athena, "StartSession", request) == "ok"


def test_the_tags_of_a_request_decide_where_a_policy_asks_for_them(world: World) -> None:
    condition = {
        "StringEquals": {"aws:RequestTag/team": "a"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "env"]},
    }
    athena = world.principal(
        allow("athena:StartSession", SPARK, Condition=condition), allow("athena:TagResource", SPARK)
    )

    def start(**given: str) -> str:
        listed = [{"Key": key, "Value": value} for key, value in given.items()]
        return code_of(athena, "StartSession", START | ({"Tags": listed} if listed else {}))

    assert start(team="a") == "ok"
    assert start(team="a", env="dev") == "ok"
    assert start(team="b") == DENIED
    assert start(team="a", other="x") == DENIED
    assert start() == DENIED


# --- sessions and their principals -------------------------------------------------------------


def test_a_session_says_who_started_it(world: World) -> None:
    key = world.server.principal("starter", allow("athena:StartSession", SPARK))
    session = world.server.client_of(key).start_session(**START)["SessionId"]
    store = world.server.running.store

    row = world.server.do(lambda: store.read(lambda tx: sessions.get(tx, session)))
    first = world.server.do(lambda: store.read(lambda tx: sessions.get(tx, world.session)))
    assert (row.principal, first.principal) == ("starter", "root")


def test_the_same_token_of_another_principal_makes_another_session(world: World) -> None:
    request = START | {"ClientRequestToken": "t" * 36}
    one, two = (world.principal(allow("athena:*", SPARK)) for _ in range(2))
    root = world.server.client()

    made = [athena.start_session(**request)["SessionId"] for athena in (one, two, root)]
    again = [athena.start_session(**request)["SessionId"] for athena in (one, two, root)]

    assert len(set(made)) == 3
    assert again == made


def test_a_next_token_of_another_principal_shows_nothing_more(world: World) -> None:
    root = world.server.client()
    token = root.list_work_groups(MaxResults=1)["NextToken"]
    athena = world.principal(
        allow("athena:ListWorkGroups"), allow("athena:GetWorkGroup", work_group("team-1"))
    )

    found = athena.list_work_groups(MaxResults=50, NextToken=token)["WorkGroups"]

    assert [one["Name"] for one in found] == ["team-1"]


# --- keys --------------------------------------------------------------------------------------


def test_a_disabled_key_is_unknown_within_a_second(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        key = server.principal("alice", allow("*"))
        athena = server.client_of(key)
        athena.list_engine_versions()
        registered(tmp_path, lambda register: register.change(key.id, Event.DISABLE))
        expected = "UnrecognizedClientException"
        until(lambda: code_of(athena, "ListEngineVersions", {}) == expected)


def test_a_wrong_secret_of_a_known_key_is_a_mismatch(world: World) -> None:
    key = world.server.principal("mallory", allow("*"))
    athena = world.server.client(key_id=key.id, secret="not it")

    assert code_of(athena, "ListEngineVersions", {}) == "InvalidSignatureException"


def test_the_first_key_may_do_everything(world: World) -> None:
    athena = world.server.client()

    assert code_of(athena, "StartSession", START | {"ExecutionRole": ROLE}) == "ok"
    assert code_of(athena, "StartSession", START | {"WorkGroup": "tagged"}) == "ok"


# --- the tags of sessions ----------------------------------------------------------------------


@pytest.mark.parametrize("resource", [SPARK, f"{SPARK}/session/*"])
def test_a_sessions_tags_are_changed_under_its_own_name_or_its_workgroups(
    world: World, resource: str
) -> None:
    arn = f"{SPARK}/session/{world.session}"
    athena = world.principal(allow("athena:*Resource", resource))

    athena.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert athena.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    athena.untag_resource(ResourceARN=arn, TagKeys=["a"])
    for denied in (SPARK, f"{SPARK}/session/*"):
        refused = world.principal(allow("*"), deny("athena:TagResource", denied))
        request = {"ResourceARN": arn, "Tags": [{"Key": "a", "Value": "b"}]}
        assert code_of(refused, "TagResource", request) == DENIED


def test_a_session_is_in_its_own_workgroup_whatever_an_arn_says(world: World) -> None:
    athena = world.principal(allow("athena:*", [TAGGED, f"{TAGGED}/*"]))
    request = {"ResourceARN": f"{TAGGED}/session/{world.session}", "TagKeys": ["a"]}
    missing = {"ResourceARN": f"{TAGGED}/session/{uuid4()}", "TagKeys": ["a"]}

    assert code_of(athena, "UntagResource", request) == DENIED
    assert code_of(athena, "UntagResource", missing) == DENIED


def test_tag_keys_decide_what_may_be_taken_away(world: World) -> None:
    condition = {"ForAllValues:StringEquals": {"aws:TagKeys": ["mine"]}}
    athena = world.principal(allow("athena:UntagResource", TAGGED, Condition=condition))

    def untag(*keys: str) -> str:
        return code_of(athena, "UntagResource", {"ResourceARN": TAGGED, "TagKeys": list(keys)})

    assert untag("mine") == "ok"
    assert untag("mine", "team") == DENIED


#: The server itself writes there.
VAULT = {"OutputLocation": "s3://vault/outputs/"}


@pytest.mark.parametrize(
    ("operation", "request_", "needed", "resource"),
    [
        (
            "CreateWorkGroup",
            {"Name": "made-a", "Tags": [{"Key": "a", "Value": "b"}]},
            "athena:TagResource",
            work_group("made-a"),
        ),
        (
            "CreateWorkGroup",
            {
                "Name": "made-b",
                "Configuration": {
                    "EngineVersion": {"SelectedEngineVersion": SPARK_4_1},
                    "ExecutionRole": ROLE,
                },
            },
            "iam:PassRole",
            ROLE,
        ),
        (
            "UpdateWorkGroup",
            {"WorkGroup": "team-8", "ConfigurationUpdates": {"ExecutionRole": ROLE}},
            "iam:PassRole",
            ROLE,
        ),
        (
            "CreateWorkGroup",
            {"Name": "made-c", "Configuration": {"ResultConfiguration": VAULT}},
            "s3:PutObject",
            "arn:aws:s3:::vault/outputs/*",
        ),
        (
            "UpdateWorkGroup",
            {"WorkGroup": "team-8", "ConfigurationUpdates": {"ResultConfigurationUpdates": VAULT}},
            "s3:PutObject",
            "arn:aws:s3:::vault/*",
        ),
    ],
)
def test_a_workgroup_needs_more_for_tags_roles_and_outputs(
    world: World, operation: str, request_: dict[str, Any], needed: str, resource: str
) -> None:
    own = allow(f"athena:{operation}", work_group("*"))

    assert code_of(world.principal(own), operation, request_) == DENIED
    assert code_of(world.principal(own, allow(needed, resource)), operation, request_) == "ok"

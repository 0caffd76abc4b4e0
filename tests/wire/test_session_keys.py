"""The key of a session at both doors: what it opens, and for how long."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.builders import make_session
from tests.keys import allow, deny
from tests.serving import UNLIMITED, Server, serving, until

from sparkowl.domain import session as domain
from sparkowl.domain import session_key
from sparkowl.domain.engine import SPARK_4_1
from sparkowl.domain.ids import ServerId, new_session_id
from sparkowl.domain.session import State
from sparkowl.store import sessions

_ROLE = "arn:aws:iam::000000000000:role/"
NARROW = _ROLE + "narrow"
FREE = _ROLE + "free"
STARTER = _ROLE + "starter"
ROLES: dict[str, Any] = {
    NARROW: {"buckets": ("lake",)},
    FREE: {
        "buckets": ("lake",),
        "policy": {
            "Version": "2012-10-17",
            "Statement": [allow("*"), deny("s3:DeleteObject", "arn:aws:s3:::lake/kept/*")],
        },
    },
    STARTER: {
        "policy": {
            "Version": "2012-10-17",
            "Statement": [allow("athena:StartSession"), allow("iam:PassRole")],
        }
    },
}
DENIED = "AccessDeniedException"
DENIED_S3 = "AccessDenied"
_numbers = itertools.count()


@dataclass(frozen=True)
class Inside:
    """The code of a session: what it has are the keys that its driver was given."""

    server: Server
    session: str
    given: dict[str, str]

    def client(self, service: str) -> Any:
        keys = {
            "key_id": self.given["aws_access_key_id"],
            "secret": self.given["aws_secret_access_key"],
        }
        return self.server.client(service, **keys)

    @property
    def athena(self) -> Any:
        return self.client("athena")

    @property
    def s3(self) -> Any:
        return self.client("s3")


def start(server: Server, work_group: str = "spark", **members: Any) -> Inside:
    """A session that is IDLE."""
    request = {"WorkGroup": work_group, "EngineConfiguration": {}} | members
    athena = server.client()
    session = athena.start_session(**request)["SessionId"]
    until(lambda: state(athena, session) == "IDLE")
    return Inside(server, session, given_to(server, session))


def given_to(server: Server, session: str) -> dict[str, str]:
    """The keys that the driver of a session was given."""

    def look() -> dict[str, str] | None:
        told = (server.launcher.adopt_of(driver) for driver in server.launcher.living)
        return next((dict(a.credentials) for a in told if a and a.session_id == session), None)

    return until(lambda: server.do(look))


def state(athena: Any, session: str) -> str:
    return str(athena.get_session_status(SessionId=session)["Status"]["State"])


def code_of(call: Callable[[], Any]) -> str | None:
    """The code of the error that a call ends with; None: it went well."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"sessions": 500, "account_dpus": 500}
    with serving(tmp_path_factory.mktemp("keys"), limits=limits, roles=ROLES) as server:
        engine = {"SelectedEngineVersion": SPARK_4_1}
        server.client().create_work_group(
            Name="other", Configuration={"EngineVersion": engine, "ExecutionRole": NARROW}
        )
        for bucket in ("lake", "vault"):
            server.client("s3").create_bucket(Bucket=bucket)
            server.client("s3").put_object(Bucket=bucket, Key="x", Body=b"x")
        yield server


@pytest.fixture(scope="module")
def inside(server: Server) -> Inside:
    return start(server)


@pytest.fixture(scope="module")
def narrow(server: Server) -> Inside:
    return start(server, ExecutionRole=NARROW)


@pytest.fixture(scope="module")
def free(server: Server) -> Inside:
    return start(server, ExecutionRole=FREE)


def test_a_session_can_ask_for_itself_and_work_with_objects(inside: Inside) -> None:
    s3 = inside.s3

    assert state(inside.athena, inside.session) in {"IDLE", "BUSY"}
    s3.put_object(Bucket="lake", Key="made/inside", Body=b"by a session")
    assert s3.get_object(Bucket="lake", Key="made/inside")["Body"].read() == b"by a session"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="lake", Prefix="made/")["Contents"]]
    s3.delete_object(Bucket="lake", Key="made/inside")
    assert code_of(lambda: s3.get_object(Bucket="lake", Key="made/inside")) == "NoSuchKey"


def test_a_session_can_run_blocks_in_the_sessions_of_its_workgroup_and_role(
    inside: Inside, narrow: Inside, server: Server
) -> None:
    beside = start(server)
    elsewhere = start(server, "other", ExecutionRole=NARROW)

    def run(session: str) -> str | None:
        return code_of(
            lambda: inside.athena.start_calculation_execution(SessionId=session, CodeBlock="1")
        )

    assert run(inside.session) is None
    assert run(beside.session) is None
    assert run(elsewhere.session) == DENIED
    assert code_of(lambda: inside.athena.get_session(SessionId=elsewhere.session)) == DENIED
    assert code_of(lambda: inside.athena.list_sessions(WorkGroup="other")) == DENIED
    # One that does not exist is as one that it may not see.
    assert code_of(lambda: inside.athena.get_session(SessionId=new_session_id())) == DENIED
    assert code_of(inside.athena.list_work_groups) == DENIED


def test_a_session_gets_no_code_into_one_of_another_role_which_may_see_more(
    inside: Inside, narrow: Inside, free: Inside
) -> None:
    for caller, other in ((narrow, inside), (free, inside), (inside, narrow)):
        run = partial(caller.athena.start_calculation_execution, CodeBlock="1")
        link = caller.athena.create_presigned_notebook_url

        assert code_of(partial(run, SessionId=other.session)) == DENIED
        assert code_of(partial(link, SessionId=other.session)) == DENIED
        assert code_of(partial(run, SessionId=caller.session)) is None
        # Looking is free.
        assert code_of(partial(caller.athena.get_session, SessionId=other.session)) is None


def test_a_session_sees_the_buckets_that_its_role_sees(inside: Inside, narrow: Inside) -> None:
    def names(s3: Any) -> set[str]:
        return {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}

    assert names(inside.s3) >= {"lake", "vault"}
    assert names(narrow.s3) == {"lake"}
    assert inside.s3.get_object(Bucket="vault", Key="x")["Body"].read() == b"x"


@pytest.mark.parametrize("which", ["narrow", "free"])
def test_a_bucket_that_the_role_does_not_see_is_shut_whatever_the_policy_says(
    which: str, narrow: Inside, free: Inside
) -> None:
    s3 = (narrow if which == "narrow" else free).s3
    vault = {"Bucket": "vault", "Key": "x"}
    refused = {
        "get": lambda: s3.get_object(**vault),
        "put": lambda: s3.put_object(**vault, Body=b"y"),
        "delete": lambda: s3.delete_object(**vault),
        "list": lambda: s3.list_objects_v2(Bucket="vault"),
        "location": lambda: s3.get_bucket_location(Bucket="vault"),
        "parts": lambda: s3.create_multipart_upload(**vault),
        "uploads": lambda: s3.list_multipart_uploads(Bucket="vault"),
        "copy": lambda: s3.copy_object(Bucket="lake", Key="stolen", CopySource=vault),
        "copy to": lambda: s3.copy_object(**vault, CopySource={"Bucket": "lake", "Key": "x"}),
        "make": lambda: s3.create_bucket(Bucket="vault-2"),
        "drop": lambda: s3.delete_bucket(Bucket="vault"),
    }

    assert {name: code_of(call) for name, call in refused.items()} == dict.fromkeys(
        refused, DENIED_S3
    )
    many = s3.delete_objects(Bucket="vault", Delete={"Objects": [{"Key": "x"}]})
    assert [error["Code"] for error in many["Errors"]] == [DENIED_S3]
    assert code_of(lambda: s3.head_bucket(Bucket="vault")) == "403"
    assert s3.get_object(Bucket="lake", Key="x")["Body"].read() == b"x"


def test_a_session_whose_role_sees_all_makes_buckets_and_drops_none(inside: Inside) -> None:
    name = f"made-{next(_numbers)}"

    assert code_of(lambda: inside.s3.create_bucket(Bucket=name)) is None
    assert code_of(lambda: inside.s3.delete_bucket(Bucket=name)) == DENIED_S3


def test_a_roles_policy_takes_the_place_of_the_default(free: Inside, server: Server) -> None:
    s3 = free.s3
    s3.put_object(Bucket="lake", Key="kept/1", Body=b"")

    assert code_of(lambda: s3.delete_object(Bucket="lake", Key="kept/1")) == DENIED_S3
    assert code_of(free.athena.list_work_groups) is None
    starter = start(server, ExecutionRole=STARTER)
    assert code_of(lambda: starter.athena.get_session(SessionId=starter.session)) == DENIED


def test_no_session_starts_another_by_default(inside: Inside, narrow: Inside) -> None:
    for each in (inside, narrow):
        for role in ({}, {"ExecutionRole": NARROW}):
            request = {"WorkGroup": "spark", "EngineConfiguration": {}} | role
            assert code_of(lambda: each.athena.start_session(**request)) == DENIED  # noqa: B023


@pytest.mark.parametrize(
    ("work_group", "role", "may"),
    [
        ("spark", STARTER, True),
        ("spark", FREE, False),
        # That is what sessions without a role see: everything.
        ("spark", None, False),
        # Its workgroup would give it another.
        ("other", None, False),
        ("other", STARTER, True),
        ("no-such-group", STARTER, None),
    ],
)
def test_a_session_that_may_start_others_starts_them_under_its_own_role(
    server: Server, work_group: str, role: str | None, may: bool | None
) -> None:
    starter = start(server, ExecutionRole=STARTER)
    request = {"WorkGroup": work_group, "EngineConfiguration": {}}

    found = code_of(
        lambda: starter.athena.start_session(**request, **({"ExecutionRole": role} if role else {}))
    )

    assert found == (None if may else "InvalidRequestException" if may is None else DENIED)


def test_a_session_can_give_no_workgroup_another_role(free: Inside) -> None:
    engine = {"SelectedEngineVersion": SPARK_4_1}

    def make(role: str) -> str | None:
        return code_of(
            lambda: free.athena.create_work_group(
                Name=f"made-{next(_numbers)}",
                Configuration={"EngineVersion": engine, "ExecutionRole": role},
            )
        )

    assert make(FREE) is None
    assert make(STARTER) == DENIED
    updates = {"ExecutionRole": STARTER}
    assert (
        code_of(
            lambda: free.athena.update_work_group(WorkGroup="other", ConfigurationUpdates=updates)
        )
        == DENIED
    )


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has no sessions of its own."""
    with serving(tmp_path_factory.mktemp("states")) as server:
        server.client("s3").create_bucket(Bucket="lake")
        server.client("s3").put_object(Bucket="lake", Key="x", Body=b"x")
        yield server


@pytest.mark.parametrize("which", State)
def test_each_door_knows_the_key_until_the_session_has_ended(idle: Server, which: State) -> None:
    server = idle
    # Another server's, so that this one leaves its row as it is.
    session = make_session(state=which, server=ServerId("another"))
    server.do(lambda: server.running.store.write(lambda tx: sessions.insert_session(tx, session)))
    key = server.running.credentials.key_for(session_key.PURPOSE)
    given = {
        "aws_access_key_id": session_key.key_id(session.id),
        "aws_secret_access_key": session_key.secret(key, session.id),
    }
    code = Inside(server, session.id, given)

    athena = code_of(lambda: code.athena.get_session_status(SessionId=session.id))
    s3 = code_of(lambda: code.s3.get_object(Bucket="lake", Key="x"))

    if which in domain.TERMINAL:
        assert (athena, s3) == ("UnrecognizedClientException", "InvalidAccessKeyId")
    else:
        assert (athena, s3) == (None, None)


def test_the_key_is_dead_when_the_session_has_ended(server: Server) -> None:
    inside = start(server)
    assert code_of(lambda: inside.s3.list_buckets()) is None

    inside.athena.terminate_session(SessionId=inside.session)
    until(lambda: state(server.client(), inside.session) == "TERMINATED")

    status = partial(inside.athena.get_session_status, SessionId=inside.session)
    until(lambda: code_of(status) == "UnrecognizedClientException")
    assert code_of(lambda: inside.s3.list_buckets()) == "InvalidAccessKeyId"


def test_a_forged_key_opens_nothing(inside: Inside, narrow: Inside) -> None:
    wrong = inside.given | {"aws_secret_access_key": narrow.given["aws_secret_access_key"]}
    nobody = inside.given | {"aws_access_key_id": session_key.key_id(new_session_id())}

    for given, codes in (
        (wrong, ("InvalidSignatureException", "SignatureDoesNotMatch")),
        (nobody, ("UnrecognizedClientException", "InvalidAccessKeyId")),
    ):
        forger = Inside(inside.server, inside.session, given)
        status = partial(forger.athena.get_session_status, SessionId=inside.session)
        assert (code_of(status), code_of(forger.s3.list_buckets)) == codes


def test_the_audit_log_names_the_session(inside: Inside, server: Server) -> None:
    bucket = f"made-{next(_numbers)}"
    inside.s3.create_bucket(Bucket=bucket)
    inside.athena.start_calculation_execution(SessionId=inside.session, CodeBlock="1")

    lines = [
        line for line in server.audited() if line.get("principal") == f"session/{inside.session}"
    ]

    made = {(line["service"], line["operation"]) for line in lines}
    assert made >= {("s3", "CreateBucket"), ("athena", "StartCalculationExecution")}
    assert {line["access_key_id"] for line in lines} == {inside.given["aws_access_key_id"]}
    assert inside.given["aws_secret_access_key"] not in str(server.audited())


def test_a_session_has_its_own_rate(tmp_path: Path) -> None:
    rates = {"reads": {"per_s": 0.001, "burst": 3}, "writes": UNLIMITED}
    with serving(tmp_path, rates=rates) as server:
        athena = server.client()
        session = athena.start_session(WorkGroup="spark", EngineConfiguration={})["SessionId"]
        inside = Inside(server, session, given_to(server, session))
        status = partial(inside.athena.get_session_status, SessionId=session)

        assert [code_of(status) for _ in range(4)] == [None, None, None, "ThrottlingException"]
        assert code_of(partial(athena.get_session_status, SessionId=session)) is None


def test_a_link_that_a_session_made_opens_a_notebook_of_its_workgroup(server: Server) -> None:
    maker = start(server)
    notebook = start(server, NotebookVersion="Athena notebook version 1").session

    def opens(athena: Any) -> tuple[int, bool]:
        made = athena.create_presigned_notebook_url(SessionId=notebook)
        url = urlsplit(made["NotebookUrl"])
        connection = HTTPConnection(url.netloc, timeout=20)
        connection.request("GET", f"{url.path}?{url.query}")
        answer = connection.getresponse()
        connection.close()
        return answer.status, "Set-Cookie" in answer.headers

    assert opens(maker.athena) == opens(server.client())
    assert opens(maker.athena)[1]

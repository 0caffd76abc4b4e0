"""The key of a session: its id and secret, when it works, and what it opens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.builders import make_session
from tests.keys import allow, deny, policy_of, work_group

from sparkowl.domain import session_key
from sparkowl.domain.arns import Account
from sparkowl.domain.conditions import BadPolicy
from sparkowl.domain.ids import new_session_id
from sparkowl.domain.policy import Principal, check_name
from sparkowl.domain.role import Role
from sparkowl.domain.session import State

OWN = work_group("spark")
OTHER = work_group("other")
ROLE = "arn:aws:iam::000000000000:role/etl"
OBJECT = "arn:aws:s3:::lake/part/0"


def principal(role: Role | None = None, **changes: Any) -> Principal:
    return session_key.principal_of(make_session(**changes), role or Role(), Account())


def test_the_id_of_a_key_leads_back_to_its_session() -> None:
    ids: list[str] = [new_session_id() for _ in range(200)]
    ids += [str(UUID(int=0)), str(UUID(int=2**128 - 1))]

    keys = [session_key.key_id(one) for one in ids]

    assert [session_key.session_of(key) for key in keys] == ids
    assert {len(key) for key in keys} == {30}
    assert all(key.startswith("ASIA") for key in keys)


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "ASIA",
        "ASIA" + "A" * 25,
        "ASIA" + "A" * 27,
        "AKIA" + "A" * 26,
        "ASIA" + "a" * 26,
        "ASIA" + "A" * 25 + "1",
        # The same bytes as the next test's key, in another spelling.
        "ASIA" + "A" * 25 + "B",
        "ASIA" + "A" * 26 + "\n",
    ],
)
def test_what_is_no_id_of_such_a_key_leads_nowhere(key_id: str) -> None:
    assert session_key.session_of(key_id) is None


def test_a_session_has_one_spelling_of_its_key() -> None:
    assert session_key.session_of("ASIA" + "A" * 26) == str(UUID(int=0))
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    spelled = [session_key.session_of("ASIA" + "A" * 25 + letter) for letter in last]
    assert len([one for one in spelled if one is not None]) == 8
    assert len(set(spelled)) == 9


def test_a_secret_is_its_sessions_and_its_servers() -> None:
    one, other = new_session_id(), new_session_id()

    secrets = {
        session_key.secret(key, session)
        for key in (b"a" * 32, b"b" * 32)
        for session in (one, other)
    }

    assert len(secrets) == 4
    assert session_key.secret(b"a" * 32, one) in secrets
    assert all(len(secret) == 43 and secret.isascii() for secret in secrets)


@pytest.mark.parametrize("state", State)
def test_it_works_until_the_session_has_ended(state: State) -> None:
    ended = state in {State.TERMINATED, State.FAILED}

    assert session_key.works(make_session(state=state)) is not ended


def test_its_principal_has_a_name_that_no_operator_can_give() -> None:
    session = make_session()
    name = session_key.name_of(session.id)

    assert name == f"session/{session.id}"
    assert session_key.named(name) == session.id
    assert session_key.named("anna") is None
    with pytest.raises(BadPolicy, match="letters"):
        check_name(name)


@pytest.mark.parametrize(
    "action",
    [
        "GetWorkGroup", "TerminateSession", "GetSession", "GetSessionStatus", "ListSessions",
        "StartCalculationExecution", "GetCalculationExecutionCode", "StopCalculationExecution",
        "ListCalculationExecutions", "GetCalculationExecution", "GetCalculationExecutionStatus",
        "ListExecutors", "ExportNotebook", "UpdateNotebook", "CreatePresignedNotebookUrl",
    ],
)  # fmt: skip
def test_by_default_it_may_what_amazons_guide_gives_an_execution_role(action: str) -> None:
    session = principal()

    assert session.allows(f"athena:{action}", OWN)
    assert not session.allows(f"athena:{action}", OTHER)
    assert not session.allows(f"athena:{action}", work_group("*"))


@pytest.mark.parametrize(
    "action",
    [
        "athena:StartSession", "athena:UpdateWorkGroup", "athena:CreateWorkGroup",
        "athena:DeleteWorkGroup", "athena:ListWorkGroups", "athena:DeleteNotebook",
        "athena:TagResource", "iam:PassRole",
    ],
)  # fmt: skip
def test_by_default_it_may_start_nothing_and_change_nothing_else(action: str) -> None:
    session = principal(request={"ExecutionRole": ROLE})

    assert not session.allows(action, OWN)
    assert not session.allows(action, ROLE)


@pytest.mark.parametrize(
    ("buckets", "bucket", "seen"),
    [
        (None, "lake", True),
        ((), "lake", False),
        (("lake",), "lake", True),
        (("lake",), "lake-2", False),
        (("la*",), "lake-2", True),
        (("*-open",), "data-open", True),
        # A pattern is of the bucket's name; a key that ends alike does not matter.
        (("*-open",), "vault", False),
    ],
)
def test_objects_are_open_in_the_buckets_that_the_role_sees(
    buckets: tuple[str, ...] | None, bucket: str, seen: bool
) -> None:
    arn = f"arn:aws:s3:::{bucket}"
    default, all_of_s3 = (
        principal(Role(buckets=buckets, policy=policy)) for policy in (None, policy_of(allow("*")))
    )

    for session in (default, all_of_s3):
        for action in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"):
            assert session.allows(f"s3:{action}", f"{arn}/x/y-open") is seen
            assert session.allows(f"s3:{action}", f"{arn}/line\nbreak-open") is seen
        assert session.allows("s3:ListBucket", arn) is seen
        assert session.allows("s3:GetBucketLocation", arn) is seen
        assert session.allows("s3:ListAllMyBuckets", "arn:aws:s3:::*")
    assert all_of_s3.allows("s3:DeleteBucket", arn) is seen
    assert not default.allows("s3:DeleteBucket", arn)
    assert default.allows("s3:CreateBucket", arn) is (buckets is None)


def test_what_is_no_name_of_a_bucket_is_in_none() -> None:
    session = principal(Role(buckets=("lake",), policy=policy_of(allow("*"))))

    assert not session.allows("s3:GetObject", "*")
    assert not session.allows("s3:GetObject", "arn:aws:s3:::")
    assert not session.allows("s3:GetObject", "lake/part/0")


def test_a_roles_policy_replaces_the_default_altogether() -> None:
    policy = policy_of(allow("s3:GetObject"), deny("s3:GetObject", "arn:aws:s3:::lake/secret/*"))
    session = principal(Role(policy=policy))

    assert session.allows("s3:GetObject", OBJECT)
    assert not session.allows("s3:GetObject", "arn:aws:s3:::lake/secret/1")
    assert not session.allows("s3:PutObject", OBJECT)
    assert not session.allows("athena:GetSessionStatus", OWN)


@pytest.mark.parametrize(
    ("own", "named", "may"),
    [(ROLE, ROLE, True), (ROLE, ROLE + "2", False), (None, ROLE, False), ("", "", False)],
)
def test_no_policy_lets_it_name_a_role_but_its_own(own: str | None, named: str, may: bool) -> None:
    session = principal(Role(policy=policy_of(allow("*"))), request={"ExecutionRole": own})

    assert session.allows("iam:PassRole", named) is may
    assert session.allows("athena:StartSession", OTHER)

"""What an execution role is mapped to, and which drivers it may share."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import make_session
from tests.keys import allow, policy_of

from sparkowl.domain.driver import fingerprint
from sparkowl.domain.engine import SPARK_4_1
from sparkowl.domain.role import Role, Roles

ARN = "arn:aws:iam::000000000000:role/etl"


@pytest.mark.parametrize(
    ("patterns", "seen"),
    [
        (None, {"lake", "raw-1", "vault"}),
        ((), set()),
        (("lake",), {"lake"}),
        (("raw-*", "vault"), {"raw-1", "vault"}),
        (("?ake",), {"lake"}),
    ],
)
def test_a_role_sees_the_buckets_that_its_patterns_name(patterns: Any, seen: set[str]) -> None:
    role = Role(buckets=patterns)

    assert {name for name in ("lake", "raw-1", "vault") if role.sees(name)} == seen


def test_a_session_has_the_role_that_it_was_started_with() -> None:
    roles = Roles({ARN: Role(user="etl")})

    assert roles.of(make_session(request={"ExecutionRole": ARN})) == Role(user="etl")
    assert roles.of(make_session(request={"ExecutionRole": ARN + "2"})) is None
    assert roles.of(make_session(request={"ExecutionRole": None})) is None
    assert roles.of(make_session(request={})) is None


def test_a_role_that_is_not_mapped_and_none_at_all_may_have_a_mapping_of_their_own() -> None:
    others = Role(buckets=("open-*",))
    roles = Roles({ARN: Role(user="etl")}, unmapped=others)

    assert roles.of(make_session(request={"ExecutionRole": ARN})) == Role(user="etl")
    assert roles.of(make_session(request={"ExecutionRole": ARN + "2"})) == others
    assert roles.of(make_session(request={})) == others


def test_a_role_that_is_mapped_to_nothing_is_as_one_that_is_not_mapped() -> None:
    assert Roles({ARN: Role()}).of(make_session(request={"ExecutionRole": ARN})) is None


@pytest.mark.parametrize(
    "role",
    [
        Role(user="etl"),
        Role(environment={"A": "1"}),
        Role(spark_properties={"spark.a": "1"}),
        Role(buckets=()),
    ],
)
def test_every_part_of_a_mapping_sets_a_driver_apart(role: Role) -> None:
    plain = fingerprint(SPARK_4_1, {})

    assert fingerprint(SPARK_4_1, {}, role.identity) != plain
    assert fingerprint(SPARK_4_1, {}, Role().identity) == plain


def test_a_policy_is_no_part_of_a_driver() -> None:
    policy = policy_of(allow("s3:GetObject"))
    roles = Roles({ARN: Role(policy=policy)})
    session = make_session(request={"ExecutionRole": ARN})

    assert Role(policy=policy).identity == ""
    assert roles.of(session) is None
    assert roles.mapped(session).policy == policy
    assert Role(user="etl", policy=policy).identity == Role(user="etl").identity

"""What tags may be, and what ARNs name."""

from __future__ import annotations

from typing import Any

import pytest

from sparkowl.domain import tags
from sparkowl.domain.arns import Account, Resource
from sparkowl.domain.errors import InvalidRequest

ACCOUNT = Account("123456789012", "eu-west-1")
WORK_GROUP = "arn:aws:athena:eu-west-1:123456789012:workgroup/etl"


def test_tags_are_read_by_key() -> None:
    asked = [{"Key": "team", "Value": "ü 1+_.:/=@-"}, {"Key": "empty"}]

    assert tags.from_request(asked) == {"team": "ü 1+_.:/=@-", "empty": ""}


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ([{"Value": "x"}], r"Tags\.1\.Key is required"),
        ([{"Key": "ok"}, {"Key": "aws:x"}], r"Tags\.2\.Key aws:x begins with aws:, which is res"),
        ([{"Key": "AWS:x"}], "is reserved"),
        ([{"Key": "a"}, {"Key": "a"}], r"Tags\.2\.Key a is given more than once"),
        ([{"Key": "a\nb"}], r"Tags\.1\.Key may hold letters"),
        ([{"Key": "a", "Value": "<script>"}], r"Tags\.1\.Value may hold letters"),
    ],
)
def test_a_tag_that_breaks_a_rule_is_named(asked: list[dict[str, Any]], rule: str) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        tags.from_request(asked)


def test_a_resource_has_at_most_50_tags() -> None:
    fifty = {f"k{n}": "" for n in range(50)}

    assert tags.with_added(fifty, {"k1": "new"})["k1"] == "new"
    with pytest.raises(InvalidRequest, match="at most 50 tags; this one would have 51"):
        tags.with_added(fifty, {"one more": ""})


@pytest.mark.parametrize(
    ("arn", "resource"),
    [
        (WORK_GROUP, Resource("etl")),
        ("arn:aws:athena:eu-west-1::workgroup/etl", Resource("etl")),
        ("arn:aws-cn:athena:eu-west-1:123456789012:workgroup/e.t_l-1", Resource("e.t_l-1")),
        (f"{WORK_GROUP}/session/0a-b", Resource("etl", "0a-b")),
    ],
)
def test_an_arn_names_a_workgroup_or_a_session(arn: str, resource: Resource) -> None:
    assert ACCOUNT.parse(arn) == resource


@pytest.mark.parametrize(
    "arn",
    [
        "etl",
        "arn:aws:athena:eu-west-1:123456789012:datacatalog/etl",
        "arn:aws:s3:eu-west-1:123456789012:workgroup/etl",
        "arn:aws:athena:us-east-1:123456789012:workgroup/etl",
        "arn:aws:athena:eu-west-1:000000000000:workgroup/etl",
        f"{WORK_GROUP}/session/",
        f"{WORK_GROUP}/session/a/b",
        f"{WORK_GROUP}\n",
    ],
)
def test_any_other_arn_is_refused(arn: str) -> None:
    with pytest.raises(InvalidRequest, match="ResourceARN"):
        ACCOUNT.parse(arn)


def test_what_is_written_can_be_read() -> None:
    assert ACCOUNT.work_group("etl") == WORK_GROUP
    assert ACCOUNT.parse(ACCOUNT.session("etl", "1-2")) == Resource("etl", "1-2")

"""Tags of workgroups and sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.databases import ENGINES
from tests.serving import Server

Idle = Callable[..., str]
GROUP = "arn:aws:athena:us-east-1:000000000000:workgroup/tagged"
SHORT = "arn:aws:athena:us-east-1::workgroup/tagged"
ROLE = "arn:aws:iam::000000000000:role/Spark"


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


@pytest.fixture
def athena(athena: Any) -> Any:
    """With a workgroup of its own for each test."""
    athena.create_work_group(
        Name="tagged",
        Configuration={
            "EngineVersion": {"SelectedEngineVersion": "Apache Spark version 4.1"},
            "ExecutionRole": ROLE,
        },
        Tags=pairs(team="data", cost="1"),
    )
    yield athena
    athena.delete_work_group(WorkGroup="tagged", RecursiveDeleteOption=True)


def pairs(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(athena: Any, arn: str = GROUP, **request: Any) -> dict[str, str]:
    found = athena.list_tags_for_resource(ResourceARN=arn, **request)["Tags"]
    keys = [tag["Key"] for tag in found]
    assert keys == sorted(keys)
    return {tag["Key"]: tag["Value"] for tag in found}


def session(athena: Any, **request: Any) -> str:
    """The ARN of a new session."""
    made = athena.start_session(WorkGroup="tagged", EngineConfiguration={}, **request)
    return f"{GROUP}/session/{made['SessionId']}"


def said(call: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return str(raised.value.response["Error"]["Message"])


def test_tags_are_added_replaced_and_taken_away(athena: Any) -> None:
    athena.tag_resource(ResourceARN=GROUP, Tags=pairs(cost="2", new="x"))
    assert tags_of(athena) == {"team": "data", "cost": "2", "new": "x"}

    athena.untag_resource(ResourceARN=GROUP, TagKeys=["team", "team", "never-there"])
    assert tags_of(athena) == {"cost": "2", "new": "x"}

    athena.untag_resource(ResourceARN=GROUP, TagKeys=["cost", "new"])
    assert tags_of(athena) == {}


def test_an_arn_may_leave_out_the_account(athena: Any) -> None:
    made = session(athena)
    short = made.replace("000000000000", "", 1)

    for with_account, without in ((GROUP, SHORT), (made, short)):
        athena.tag_resource(ResourceARN=without, Tags=pairs(by="short"))
        assert tags_of(athena, with_account) == tags_of(athena, without)
        assert tags_of(athena, with_account)["by"] == "short"
        athena.untag_resource(ResourceARN=with_account, TagKeys=["by"])
        assert "by" not in tags_of(athena, without)


def test_a_session_has_its_workgroups_tags_with_its_own_over_them(athena: Any) -> None:
    made = session(athena, Tags=pairs(cost="9", mine="x"))

    assert tags_of(athena, made) == {"team": "data", "cost": "9", "mine": "x"}
    assert tags_of(athena) == {"team": "data", "cost": "1"}


def test_a_session_may_do_without_its_workgroups_tags(athena: Any) -> None:
    own = session(athena, CopyWorkGroupTags=False, Tags=pairs(mine="x"))
    none = session(athena, CopyWorkGroupTags=False)
    copied = session(athena, CopyWorkGroupTags=True)

    assert tags_of(athena, own) == {"mine": "x"}
    assert tags_of(athena, none) == {}
    assert tags_of(athena, copied) == {"team": "data", "cost": "1"}


def test_the_tags_of_a_session_are_a_copy_that_lives_on_its_own(athena: Any) -> None:
    made = session(athena)

    athena.untag_resource(ResourceARN=GROUP, TagKeys=["team"])
    athena.tag_resource(ResourceARN=made, Tags=pairs(later="x"))

    assert tags_of(athena, made) == {"team": "data", "cost": "1", "later": "x"}
    assert tags_of(athena) == {"cost": "1"}


def test_a_resource_has_at_most_fifty_tags_however_they_come(athena: Any) -> None:
    athena.tag_resource(ResourceARN=GROUP, Tags=pairs(**{f"k{n:02}": "v" for n in range(48)}))
    whole = tags_of(athena)
    assert len(whole) == 50

    one_more = said(athena.tag_resource, ResourceARN=GROUP, Tags=pairs(another="v"))
    assert one_more == "Tags: a resource has at most 50 tags; this one would have 51."
    assert tags_of(athena) == whole
    # One that is replaced is not one more.
    athena.tag_resource(ResourceARN=GROUP, Tags=pairs(k00="other"))
    assert tags_of(athena) == whole | {"k00": "other"}
    # The copies count for a session.
    start = {"WorkGroup": "tagged", "EngineConfiguration": {}, "Tags": pairs(another="v")}
    assert "at most 50 tags" in said(athena.start_session, **start)
    assert athena.start_session(**start, CopyWorkGroupTags=False)["SessionId"]


@pytest.mark.parametrize("key", ["aws:x", "AWS:x", "aWs:"])
def test_keys_that_begin_with_aws_are_reserved_everywhere(athena: Any, key: str) -> None:
    tags = [{"Key": key, "Value": "v"}]
    before = tags_of(athena)

    for call, request in (
        (athena.tag_resource, {"ResourceARN": GROUP, "Tags": tags}),
        (athena.untag_resource, {"ResourceARN": GROUP, "TagKeys": [key]}),
        (athena.create_work_group, {"Name": "other", "Tags": tags}),
        (
            athena.start_session,
            {"WorkGroup": "tagged", "EngineConfiguration": {}, "Tags": tags},
        ),
    ):
        assert f"{key} begins with aws:, which is reserved." in said(call, **request)
    assert tags_of(athena) == before


def test_keys_and_values_at_the_edge_of_what_is_allowed(athena: Any) -> None:
    tags = {
        "k" * 128: "v" * 256,
        "ü \U00010000 _.:/=+-@9": "ü \U00010000 _.:/=+-@9",
        "Case": "1",
        "case": "2",
        "empty": "",
        "aw": "",
        "awsome": "",
    }

    athena.tag_resource(ResourceARN=GROUP, Tags=[{"Key": k, "Value": v} for k, v in tags.items()])

    assert tags_of(athena) == tags | {"team": "data", "cost": "1"}


def test_a_tag_without_a_value_has_an_empty_one(athena: Any) -> None:
    athena.tag_resource(ResourceARN=GROUP, Tags=[{"Key": "flag"}])

    assert tags_of(athena)["flag"] == ""


def test_the_paginator_of_boto3_shows_them_all(athena: Any, server: Server) -> None:
    athena.tag_resource(ResourceARN=GROUP, Tags=pairs(**{f"k{n:02}": "v" for n in range(48)}))

    pages = athena.get_paginator("list_tags_for_resource").paginate(
        ResourceARN=GROUP, PaginationConfig={"PageSize": 75}
    )

    assert sum(len(page["Tags"]) for page in pages) == 50


def test_any_number_of_keys_may_be_named_to_be_taken_away(athena: Any) -> None:
    athena.untag_resource(ResourceARN=GROUP, TagKeys=[f"k{n}" for n in range(300_000)] + ["cost"])

    assert tags_of(athena) == {"team": "data"}


def test_the_tags_of_a_session_outlive_its_workgroup(athena: Any, server: Server) -> None:
    made = session(athena)
    athena.delete_work_group(WorkGroup="tagged", RecursiveDeleteOption=True)

    assert tags_of(athena, made) == {"team": "data", "cost": "1"}
    with pytest.raises(ClientError) as raised:
        tags_of(athena)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"
    athena.create_work_group(Name="tagged")
    assert tags_of(athena) == {}

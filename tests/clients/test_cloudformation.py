"""``AWS::Athena::WorkGroup`` by the calls of CloudFormation's handlers.

Source: aws-cloudformation/aws-cloudformation-resource-providers-athena, ``workgroup/``. The
handlers know errors by words in their texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.clients.wire import JAVA, Caller, Refused
from tests.serving import Server

ROLE = "arn:aws:iam::123456789012:role/spark"
SPARK = "PySpark engine version 3"

Model = dict[str, Any]


class NotFound(Exception):
    """The handlers' CfnNotFoundException."""


class AlreadyExists(Exception):
    """The handlers' CfnAlreadyExistsException."""


class Handlers:
    """The five handlers of the resource type."""

    def __init__(self, call: Caller) -> None:
        self._raw = call

    def _call(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._raw(operation, body)
        except Refused as refused:
            if "not found" in refused.message:
                raise NotFound from refused
            if "already created" in refused.message:
                raise AlreadyExists from refused
            raise

    def create(self, model: Model) -> None:
        members = ("Name", "Description", "WorkGroupConfiguration", "Tags")
        body = {name.removeprefix("WorkGroup"): model[name] for name in members if model.get(name)}
        self._call("CreateWorkGroup", body)
        if "State" in model:
            self._call("UpdateWorkGroup", {"WorkGroup": model["Name"], "State": model["State"]})

    def read(self, name: str) -> Model:
        found = self._call("GetWorkGroup", {"WorkGroup": name})["WorkGroup"]
        assert found["CreationTime"] is not None
        arn = f"arn:aws:athena:us-east-1:000000000000:workgroup/{name}"
        tags: list[dict[str, str]] = []
        page: dict[str, Any] = {}
        while True:
            body = {"MaxResults": 100, "ResourceARN": arn, **page}
            answer = self._call("ListTagsForResource", body)
            tags += answer["Tags"]
            if answer.get("NextToken") is None:
                break
            page = {"NextToken": answer["NextToken"]}
        return {
            "Name": found["Name"],
            "Description": found.get("Description"),
            "State": found["State"],
            "WorkGroupConfiguration": found["Configuration"],
            "Tags": tags,
        }

    def list_all(self) -> list[str]:
        names: list[str] = []
        page: dict[str, Any] = {}
        while True:
            answer = self._call("ListWorkGroups", {"MaxResults": 50, **page})
            for group in answer["WorkGroups"]:
                assert group["CreationTime"] is not None
                assert group["State"] in {"ENABLED", "DISABLED"}
                names.append(group["Name"])
            if answer.get("NextToken") is None:
                return names
            page = {"NextToken": answer["NextToken"]}

    def update(self, model: Model) -> None:
        name = model["Name"]
        before = {tag["Key"]: tag["Value"] for tag in self.read(name)["Tags"]}
        wanted = {tag["Key"]: tag["Value"] for tag in model.get("Tags", [])}
        body = {
            "WorkGroup": name,
            "Description": model.get("Description", ""),
            "State": model.get("State", "ENABLED"),
            "ConfigurationUpdates": _updates(model["WorkGroupConfiguration"]),
        }
        self._call("UpdateWorkGroup", body)
        arn = f"arn:aws:athena:us-east-1:000000000000:workgroup/{name}"
        gone = [key for key in before if key not in wanted]
        if gone:
            self._call("UntagResource", {"ResourceARN": arn, "TagKeys": gone})
        new = [{"Key": k, "Value": v} for k, v in wanted.items() if before.get(k) != v]
        if new:
            self._call("TagResource", {"ResourceARN": arn, "Tags": new})

    def delete(self, model: Model) -> None:
        self._call("GetWorkGroup", {"WorkGroup": model["Name"]})
        body = {"WorkGroup": model["Name"]}
        if "RecursiveDeleteOption" in model:
            body["RecursiveDeleteOption"] = model["RecursiveDeleteOption"]
        self._call("DeleteWorkGroup", body)


def _updates(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What the template leaves out is set to its default or unset."""
    result = configuration.get("ResultConfiguration", {})
    members = ("OutputLocation", "EncryptionConfiguration", "ExpectedBucketOwner",
               "AclConfiguration")  # fmt: skip
    found = {
        "EnforceWorkGroupConfiguration": configuration.get("EnforceWorkGroupConfiguration", True),
        "PublishCloudWatchMetricsEnabled": configuration.get(
            "PublishCloudWatchMetricsEnabled", False
        ),
        "RequesterPaysEnabled": configuration.get("RequesterPaysEnabled", False),
        "EngineVersion": configuration.get("EngineVersion", {"SelectedEngineVersion": "AUTO"}),
        "ResultConfigurationUpdates": {
            name if name in result else f"Remove{name}": result.get(name, True) for name in members
        },
    }
    for name in ("ExecutionRole", "AdditionalConfiguration", "EngineConfiguration"):
        if name in configuration:
            found[name] = configuration[name]
    for name in ("BytesScannedCutoffPerQuery", "CustomerContentEncryptionConfiguration"):
        removing = f"Remove{name}"
        found[name if name in configuration else removing] = configuration.get(name, True)
    return found


@pytest.fixture
def handlers(server: Server) -> Handlers:
    return Handlers(Caller(server, JAVA))


def spark(name: str, **more: Any) -> Model:
    return {
        "Name": name,
        "WorkGroupConfiguration": {
            "EngineVersion": {"SelectedEngineVersion": SPARK},
            "ExecutionRole": ROLE,
            "ResultConfiguration": {"OutputLocation": "s3://sparkowl-results/cfn"},
        },
        **more,
    }


def test_a_stack_is_made_updated_and_deleted(handlers: Handlers) -> None:
    model = spark("cfn", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    handlers.create(model)
    found = handlers.read("cfn")

    configuration = found["WorkGroupConfiguration"]
    for name in ("ExecutionRole", "ResultConfiguration"):
        assert configuration[name] == model["WorkGroupConfiguration"][name]
    assert configuration["EngineVersion"]["SelectedEngineVersion"] == SPARK
    assert configuration["EngineVersion"]["EffectiveEngineVersion"] == SPARK
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert found["Tags"] == model["Tags"]
    assert "cfn" in handlers.list_all()

    changed = spark("cfn", Description="new", State="DISABLED", Tags=[{"Key": "b", "Value": "3"}])
    changed["WorkGroupConfiguration"]["ResultConfiguration"] = {}
    changed["WorkGroupConfiguration"]["PublishCloudWatchMetricsEnabled"] = True
    # An update must be repeatable: the contract tests of CloudFormation do it.
    for _ in range(2):
        handlers.update(changed)
        found = handlers.read("cfn")
        assert (found["Description"], found["State"]) == ("new", "DISABLED")
        assert found["WorkGroupConfiguration"]["ResultConfiguration"] == {}
        assert found["WorkGroupConfiguration"]["PublishCloudWatchMetricsEnabled"] is True
        assert found["Tags"] == changed["Tags"]

    handlers.delete(changed)
    assert "cfn" not in handlers.list_all()


def test_a_workgroup_of_sql_without_anything_is_brought_to_its_defaults(handlers: Handlers) -> None:
    handlers.create({"Name": "plain"})
    before = handlers.read("plain")

    handlers.update({"Name": "plain", "WorkGroupConfiguration": {}})

    after = handlers.read("plain")
    assert after == before | {"Description": ""}
    assert after["WorkGroupConfiguration"]["EngineVersion"] == {
        "SelectedEngineVersion": "AUTO",
        "EffectiveEngineVersion": "Athena engine version 3",
    }
    handlers.delete({"Name": "plain", "RecursiveDeleteOption": True})


def test_what_is_there_already_or_not_at_all_is_known_by_the_words(handlers: Handlers) -> None:
    handlers.create(spark("twice"))

    with pytest.raises(AlreadyExists):
        handlers.create(spark("twice"))
    handlers.delete(spark("twice"))
    with pytest.raises(NotFound):
        handlers.read("twice")
    with pytest.raises(NotFound):
        handlers.update(spark("twice"))
    with pytest.raises(NotFound):
        handlers.delete(spark("twice"))


def test_an_empty_list_of_tags_is_refused_in_the_words_that_made_the_handler_leave_it_out(
    server: Server,
) -> None:
    call = Caller(server, JAVA)

    with pytest.raises(Refused, match="Tags provided upon WorkGroup creation must not be empty"):
        call("CreateWorkGroup", {"Name": "untagged", "Tags": []})


def test_more_workgroups_than_a_page_are_all_listed_once(handlers: Handlers) -> None:
    names = [f"many-{number:03}" for number in range(120)]
    for name in names:
        handlers.create({"Name": name})

    listed = handlers.list_all()

    assert [name for name in listed if name.startswith("many-")] == names
    for name in names:
        handlers.delete({"Name": name})

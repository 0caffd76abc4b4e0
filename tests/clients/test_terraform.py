"""The life of an ``aws_athena_workgroup``, by the calls that Terraform's AWS provider makes.

Sources: the provider's ``internal/service/athena/workgroup.go`` and a trace of 5.100 and 6.x: a
create reads back, an update sends UpdateWorkGroup twice, and a plan shows no change when what is
read is what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.clients.wire import GO, Caller, Refused
from tests.serving import Server, until

ROLE = "arn:aws:iam::123456789012:role/spark"
KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-00000000000a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The arguments of the resource, as members of Athena's API."""

    name: str = "terraform"
    description: str | None = None
    state: str = "ENABLED"
    configuration: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    force_destroy: bool = False
    #: ``skip_requesting_account_id`` leaves it out of ARNs.
    account: str = "000000000000"

    @property
    def arn(self) -> str:
        return f"arn:aws:athena:us-east-1:{self.account}:workgroup/{self.name}"


class Provider:
    """What the provider does for each step of Terraform."""

    def __init__(self, call: Caller) -> None:
        self._call = call

    def create(self, resource: Resource) -> None:
        body: dict[str, Any] = {
            "Configuration": resource.configuration,
            "Name": resource.name,
        }
        if resource.tags:
            body["Tags"] = [{"Key": k, "Value": v} for k, v in resource.tags.items()]
        if resource.description is not None:
            body["Description"] = resource.description
        assert self._call("CreateWorkGroup", body) == {}
        if resource.state == "DISABLED":
            body = {"State": "DISABLED", "WorkGroup": resource.name}
            assert self._call("UpdateWorkGroup", body) == {}

    def read(self, resource: Resource) -> Resource:
        """The resource as it is: what the next plan compares with the arguments."""
        found = self._call("GetWorkGroup", {"WorkGroup": resource.name})["WorkGroup"]
        tags = self._call("ListTagsForResource", {"ResourceARN": resource.arn})["Tags"]
        configuration = dict(found["Configuration"])
        # Computed, so not an argument; the resource cannot be read without it.
        version = dict(configuration["EngineVersion"])
        assert version.pop("EffectiveEngineVersion")
        return replace(
            resource,
            name=found["Name"],
            description=found.get("Description"),
            state=found["State"],
            configuration=configuration | {"EngineVersion": version},
            tags={tag["Key"]: tag["Value"] for tag in tags},
        )

    def update(self, old: Resource, new: Resource) -> None:
        gone = [key for key in old.tags if key not in new.tags]
        if gone:
            assert self._call("UntagResource", {"ResourceARN": new.arn, "TagKeys": gone}) == {}
        changed = {k: v for k, v in new.tags.items() if old.tags.get(k) != v}
        if changed:
            tags = [{"Key": k, "Value": v} for k, v in changed.items()]
            assert self._call("TagResource", {"ResourceARN": new.arn, "Tags": tags}) == {}
        body: dict[str, Any] = {"WorkGroup": new.name}
        if new.configuration != old.configuration:
            body["ConfigurationUpdates"] = updates(new.configuration)
        if new.description != old.description:
            body["Description"] = new.description or ""
        if new.state != old.state:
            body["State"] = new.state
        for _ in range(2):
            assert self._call("UpdateWorkGroup", body) == {}

    def destroy(self, resource: Resource) -> None:
        body = {"RecursiveDeleteOption": resource.force_destroy, "WorkGroup": resource.name}
        assert self._call("DeleteWorkGroup", body) == {}


#: In an update, a member that is not an argument is unset by its flag.
REMOVABLE = ("OutputLocation", "EncryptionConfiguration", "ExpectedBucketOwner", "AclConfiguration")


def updates(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The provider's expandWorkGroupConfigurationUpdates."""
    found = {
        name: value
        for name, value in configuration.items()
        if name not in {"ResultConfiguration", "ManagedQueryResultsConfiguration"}
    }
    if "BytesScannedCutoffPerQuery" not in configuration:
        found["RemoveBytesScannedCutoffPerQuery"] = True
    if "CustomerContentEncryptionConfiguration" not in configuration:
        found["RemoveCustomerContentEncryptionConfiguration"] = True
    result = configuration.get("ResultConfiguration", {})
    found["ResultConfigurationUpdates"] = {
        name if name in result else f"Remove{name}": result.get(name, True) for name in REMOVABLE
    }
    managed = configuration.get("ManagedQueryResultsConfiguration")
    if managed is not None:
        key = "EncryptionConfiguration"
        found["ManagedQueryResultsConfigurationUpdates"] = (
            managed if key in managed else {**managed, f"Remove{key}": True}
        )
    return found


def arguments(engine: str, **more: Any) -> dict[str, Any]:
    """A ``configuration`` block with the provider's own defaults."""
    return {
        "EnforceWorkGroupConfiguration": True,
        "EngineVersion": {"SelectedEngineVersion": engine},
        "ExecutionRole": ROLE,
        "PublishCloudWatchMetricsEnabled": True,
        "RequesterPaysEnabled": False,
        "EnableMinimumEncryptionConfiguration": False,
        "ResultConfiguration": {},
        **more,
    }


MONITORING = {
    "CloudWatchLoggingConfiguration": {
        "Enabled": True,
        "LogGroup": "/aws/athena/terraform",
        "LogTypes": {"SPARK_DRIVER": [], "SPARK_EXECUTOR": ["STDERR"]},
    },
    "ManagedLoggingConfiguration": {"Enabled": False},
    "S3LoggingConfiguration": {"Enabled": True, "LogLocation": "s3://logs/athena/"},
}
LOCATION = {"OutputLocation": "s3://sparkowl-results/terraform/"}
ENCRYPTED = {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": KEY}}
OWNED = {
    "ExpectedBucketOwner": "123456789012",
    "AclConfiguration": {"S3AclOption": "BUCKET_OWNER_FULL_CONTROL"},
}
#: Arguments at first, and after an edit.
LIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "PySpark engine version 3": (
        arguments("PySpark engine version 3", ResultConfiguration=LOCATION | ENCRYPTED | OWNED),
        arguments(
            "PySpark engine version 3",
            ResultConfiguration=LOCATION,
            PublishCloudWatchMetricsEnabled=False,
            EnforceWorkGroupConfiguration=False,
        ),
    ),
    # As in the provider's acceptance test: without a location.
    "Apache Spark version 3.5": (
        arguments("Apache Spark version 3.5", MonitoringConfiguration=MONITORING),
        arguments(
            "Apache Spark version 3.5",
            MonitoringConfiguration={"ManagedLoggingConfiguration": {"Enabled": True}},
            ResultConfiguration=LOCATION,
            ExecutionRole=f"{ROLE}-2",
        ),
    ),
    "Apache Spark version 4.1": (
        arguments(
            "Apache Spark version 4.1",
            CustomerContentEncryptionConfiguration={"KmsKey": KEY},
            ManagedQueryResultsConfiguration={"Enabled": False},
            ResultConfiguration=ENCRYPTED,
        ),
        arguments(
            "Apache Spark version 4.1",
            ManagedQueryResultsConfiguration={
                "Enabled": True,
                "EncryptionConfiguration": {"KmsKey": KEY},
            },
            ResultConfiguration=LOCATION | OWNED,
            RequesterPaysEnabled=True,
        ),
    ),
    # The same provider, and the same server, for Athena SQL's workgroups.
    "AUTO": (
        {k: v for k, v in arguments("AUTO").items() if k != "ExecutionRole"}
        | {"BytesScannedCutoffPerQuery": 12_582_912},
        {k: v for k, v in arguments("AUTO").items() if k != "ExecutionRole"},
    ),
}


@pytest.fixture
def provider(server: Server) -> Provider:
    return Provider(Caller(server, GO))


def require_gone(provider: Provider, resource: Resource) -> None:
    """As the provider sees that a resource is no more."""
    with pytest.raises(Refused) as refused:
        provider.read(resource)
    assert refused.value.code == "InvalidRequestException"
    assert "is not found" in refused.value.message


@pytest.mark.parametrize("account", ["000000000000", ""], ids=["account", "no account"])
@pytest.mark.parametrize("engine", LIVES)
def test_a_workgroup_from_its_creation_to_its_end_and_no_plan_shows_a_change(
    provider: Provider, engine: str, account: str
) -> None:
    at_first, then = LIVES[engine]
    first = Resource(
        description="made by Terraform",
        configuration=at_first,
        tags={"Name": "ü", "env": "test", "ManagedBy": "terraform"},
        account=account,
    )
    second = replace(
        first,
        description="edited",
        configuration=then,
        tags={"env": "prod", "ManagedBy": "terraform", "new": ""},
    )

    provider.create(first)
    assert provider.read(first) == first
    assert provider.read(first) == first

    provider.update(first, second)
    assert provider.read(second) == second

    disabled = replace(second, state="DISABLED", description="")
    provider.update(second, disabled)
    assert provider.read(disabled) == disabled

    # Back again: every argument that went comes back.
    provider.update(disabled, first)
    assert provider.read(first) == first

    provider.destroy(first)
    require_gone(provider, first)


def test_a_workgroup_that_is_disabled_from_the_start(provider: Provider) -> None:
    resource = Resource(
        name="off", state="DISABLED", configuration=arguments("Apache Spark version 3.5")
    )

    provider.create(resource)

    assert provider.read(resource) == resource
    provider.destroy(resource)


def test_a_workgroup_whose_role_is_not_given_is_refused_in_the_words_of_the_providers_issue(
    provider: Provider,
) -> None:
    configuration = arguments("PySpark engine version 3")
    del configuration["ExecutionRole"]

    with pytest.raises(Refused) as refused:
        provider.create(Resource(configuration=configuration))

    assert refused.value.code == "InvalidRequestException"
    assert refused.value.members["AthenaErrorCode"] == "INVALID_INPUT"
    assert refused.value.message == "executionRole is null or empty"
    require_gone(provider, Resource(configuration=configuration))


@pytest.mark.parametrize("force", [False, True])
def test_force_destroy_takes_the_live_sessions_along(
    provider: Provider, server: Server, force: bool
) -> None:
    resource = Resource(
        name=f"busy-{force}",
        configuration=arguments("Apache Spark version 4.1"),
        force_destroy=force,
    )
    athena = server.client()
    provider.create(resource)
    session = athena.start_session(WorkGroup=resource.name, EngineConfiguration={})["SessionId"]

    if not force:
        with pytest.raises(Refused, match="is not empty: 1 of its sessions are live"):
            provider.destroy(resource)
        assert provider.read(resource) == resource
        athena.terminate_session(SessionId=session)
        until(lambda: state(athena, session) == "TERMINATED")
    provider.destroy(resource)

    require_gone(provider, resource)
    until(lambda: state(athena, session) == "TERMINATED")


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])

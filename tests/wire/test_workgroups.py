"""The life of a workgroup: what is sent comes back, and what changes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import StructureShape
from tests.databases import ENGINES
from tests.serving import Server, until
from tests.wire.test_answers import CONFIGURATION, ENGINE, KEY, MONITORING, ROLE

from sparkowl.protocol import model

SPARK = ("PySpark engine version 3", "Apache Spark version 3.5", "Apache Spark version 4.1")
#: What GetWorkGroup answers of a workgroup of which nothing was said, as AWS does.
DEFAULTS: dict[str, Any] = {
    "ResultConfiguration": {},
    "EnforceWorkGroupConfiguration": True,
    "PublishCloudWatchMetricsEnabled": False,
    "RequesterPaysEnabled": False,
    "EnableMinimumEncryptionConfiguration": False,
    "EngineVersion": {
        "SelectedEngineVersion": "AUTO",
        "EffectiveEngineVersion": "Athena engine version 3",
    },
}

Make = Callable[..., str]


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """On each engine."""
    return str(request.param)


@pytest.fixture
def make(athena: Any) -> Iterator[Make]:
    """Makes workgroups, and deletes them after the test."""
    made: list[str] = []

    def create(**configuration: Any) -> str:
        name = f"group-{len(made)}"
        athena.create_work_group(Name=name, Configuration=configuration)
        made.append(name)
        return name

    yield create
    for name in made:
        athena.delete_work_group(WorkGroup=name, RecursiveDeleteOption=True)


def spark(engine: str = "Apache Spark version 4.1", **configuration: Any) -> dict[str, Any]:
    version = {"SelectedEngineVersion": engine}
    return {"EngineVersion": version, "ExecutionRole": ROLE, **configuration}


def get(athena: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = athena.get_work_group(WorkGroup=name)["WorkGroup"]
    return found


def configuration_of(athena: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = get(athena, name)["Configuration"]
    return found


def sessions_of(athena: Any, name: str, **request: Any) -> list[str]:
    found = athena.list_sessions(WorkGroup=name, **request)["Sessions"]
    return [session["SessionId"] for session in found]


def state(athena: Any, session_id: str) -> str:
    return str(athena.get_session_status(SessionId=session_id)["Status"]["State"])


def refusal(call: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**request)
    assert raised.value.response["Error"]["Code"] == "InvalidRequestException"
    return str(raised.value.response["Error"]["Message"])


# --- create ------------------------------------------------------------------------------------


def test_a_workgroup_of_which_nothing_was_said_has_awss_defaults(athena: Any, make: Make) -> None:
    found = get(athena, make())

    assert found["Configuration"] == DEFAULTS
    assert found["State"] == "ENABLED"
    assert "Description" not in found


def test_every_member_that_was_sent_comes_back(athena: Any, make: Make) -> None:
    version = {"EffectiveEngineVersion": "Apache Spark version 4.1"}

    found = configuration_of(athena, make(**CONFIGURATION))

    assert found == CONFIGURATION | {"EngineVersion": CONFIGURATION["EngineVersion"] | version}


def test_the_round_trip_knows_every_member_of_the_model() -> None:
    shape = model.service().shape_for("WorkGroupConfiguration")

    assert isinstance(shape, StructureShape)
    assert set(CONFIGURATION) == set(shape.members)


@pytest.mark.parametrize("engine", SPARK)
def test_each_spark_engine_has_workgroups_in_which_sessions_start(
    athena: Any, make: Make, engine: str
) -> None:
    name = make(**spark(engine))

    session_id = athena.start_session(WorkGroup=name, EngineConfiguration={})["SessionId"]

    assert configuration_of(athena, name)["EngineVersion"] == {
        "SelectedEngineVersion": engine,
        "EffectiveEngineVersion": engine,
    }
    assert athena.get_session(SessionId=session_id)["EngineVersion"] == engine
    [listed] = athena.list_sessions(WorkGroup=name)["Sessions"]
    assert listed["EngineVersion"]["SelectedEngineVersion"] == engine


def test_a_description_may_be_empty_and_have_the_greatest_length(athena: Any) -> None:
    for text in ("", "ü" * 1024):
        athena.create_work_group(Name="described", Description=text)
        assert get(athena, "described")["Description"] == text
        athena.delete_work_group(WorkGroup="described")


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 128])
def test_names_at_the_edge_of_what_is_allowed(athena: Any, name: str) -> None:
    athena.create_work_group(Name=name)

    assert get(athena, name)["Name"] == name
    listed = athena.list_work_groups()["WorkGroups"]
    assert name in [group["Name"] for group in listed]
    athena.delete_work_group(WorkGroup=name)


# --- update ------------------------------------------------------------------------------------

#: Of every member of ConfigurationUpdates that sets something, another value than the one before.
UPDATES: dict[str, Any] = {
    "EnforceWorkGroupConfiguration": True,
    "ResultConfigurationUpdates": {
        "OutputLocation": "s3://sparkowl-results/other",
        "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": "alias/other"},
        "ExpectedBucketOwner": "111111111111",
        "AclConfiguration": {"S3AclOption": "BUCKET_OWNER_FULL_CONTROL"},
    },
    "ManagedQueryResultsConfigurationUpdates": {
        "Enabled": True,
        "EncryptionConfiguration": {"KmsKey": "alias/other"},
    },
    "PublishCloudWatchMetricsEnabled": False,
    "BytesScannedCutoffPerQuery": 20_000_000,
    "RequesterPaysEnabled": False,
    "EngineVersion": {"SelectedEngineVersion": "Apache Spark version 4.1"},
    "AdditionalConfiguration": "other",
    "ExecutionRole": "arn:aws:iam::000000000000:role/Other",
    "CustomerContentEncryptionConfiguration": {"KmsKey": "alias/other"},
    "EnableMinimumEncryptionConfiguration": False,
    "QueryResultsS3AccessGrantsConfiguration": {
        "EnableS3AccessGrants": True,
        "AuthenticationType": "DIRECTORY_IDENTITY",
    },
    "MonitoringConfiguration": {"ManagedLoggingConfiguration": {"Enabled": False}},
    "EngineConfiguration": {"MaxConcurrentDpus": 5},
}


def updates_shape() -> StructureShape:
    shape = model.service().shape_for("WorkGroupConfigurationUpdates")
    assert isinstance(shape, StructureShape)
    return shape


def removes(shape: StructureShape) -> Iterator[str]:
    return (name for name in shape.members if name.startswith("Remove"))


def leaves(shape: StructureShape, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every member of ConfigurationUpdates, into the structures that update others."""
    for name, member in shape.members.items():
        if name.endswith("Updates"):
            assert isinstance(member, StructureShape)
            yield from leaves(member, (*path, name))
        else:
            yield (*path, name)


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def pick(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def place_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """Where GetWorkGroup answers what an update names."""
    return tuple(name.removesuffix("Updates").removeprefix("Remove") for name in path)


#: Every member of the model: one of a newer model without a value above fails here.
LEAVES = list(leaves(updates_shape()))


@pytest.mark.parametrize("path", [p for p in LEAVES if not p[-1].startswith("Remove")], ids=str)
def test_every_member_of_an_update_comes_back_and_changes_nothing_else(
    athena: Any, make: Make, path: tuple[str, ...]
) -> None:
    name = make(**CONFIGURATION)
    before = configuration_of(athena, name)
    value = pick(UPDATES, path)

    athena.update_work_group(WorkGroup=name, ConfigurationUpdates=nested(path, value))

    after = configuration_of(athena, name)
    if path == ("EngineVersion",):
        value = value | {"EffectiveEngineVersion": "Apache Spark version 4.1"}
    assert pick(after, place_of(path)) == value
    assert without(after, place_of(path)) == without(before, place_of(path))


@pytest.mark.parametrize("path", [p for p in LEAVES if p[-1].startswith("Remove")], ids=str)
def test_every_remove_flag_unsets_its_member_and_nothing_else(
    athena: Any, make: Make, path: tuple[str, ...]
) -> None:
    name = make(**CONFIGURATION)
    before = configuration_of(athena, name)
    assert pick(before, place_of(path))

    athena.update_work_group(WorkGroup=name, ConfigurationUpdates=nested(path, False))
    unchanged = configuration_of(athena, name)
    # Twice, as Terraform does: what is gone already is no error.
    for _ in range(2):
        athena.update_work_group(WorkGroup=name, ConfigurationUpdates=nested(path, True))

    after = configuration_of(athena, name)
    assert unchanged == before
    assert after == without(before, place_of(path))


def without(value: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """``value`` without the member at ``path``."""
    first, rest = path[0], path[1:]
    if not rest:
        return {name: item for name, item in value.items() if name != first}
    return value | {first: without(value[first], rest)}


def test_an_update_of_a_structure_that_was_not_there_makes_it_whole(
    athena: Any, make: Make
) -> None:
    name = make()

    athena.update_work_group(
        WorkGroup=name,
        ConfigurationUpdates={
            "ManagedQueryResultsConfigurationUpdates": {"EncryptionConfiguration": {"KmsKey": KEY}},
            "ResultConfigurationUpdates": {"OutputLocation": "s3://sparkowl-results/x/"},
        },
    )

    found = configuration_of(athena, name)
    assert found["ManagedQueryResultsConfiguration"] == {
        "Enabled": False,
        "EncryptionConfiguration": {"KmsKey": KEY},
    }
    assert found["ResultConfiguration"] == {"OutputLocation": "s3://sparkowl-results/x/"}


def test_an_update_of_nothing_changes_nothing(athena: Any, make: Make) -> None:
    name = make(**CONFIGURATION)
    before = get(athena, name)

    empty: tuple[dict[str, Any], ...] = ({}, {"ConfigurationUpdates": {}})
    for request in empty:
        athena.update_work_group(WorkGroup=name, **request)

    assert get(athena, name) == before


def test_an_update_that_breaks_one_rule_changes_nothing_at_all(athena: Any, make: Make) -> None:
    name = make(**CONFIGURATION)
    before = get(athena, name)

    refusal(
        athena.update_work_group,
        WorkGroup=name,
        Description="new",
        State="DISABLED",
        ConfigurationUpdates={
            "RequesterPaysEnabled": False,
            "EngineVersion": {"SelectedEngineVersion": "AUTO"},
        },
    )

    assert get(athena, name) == before


def test_a_workgroup_is_described_anew(athena: Any, make: Make) -> None:
    name = make()

    for text in ("one", ""):
        athena.update_work_group(WorkGroup=name, Description=text)
        assert get(athena, name)["Description"] == text


def test_a_disabled_workgroup_runs_nothing_until_it_is_enabled_and_shows_what_it_has(
    athena: Any, make: Make
) -> None:
    name = make(**spark())
    session_id = athena.start_session(WorkGroup=name, EngineConfiguration={})["SessionId"]
    until(lambda: state(athena, session_id) == "IDLE")

    athena.update_work_group(WorkGroup=name, State="DISABLED")

    said = f"WorkGroup {name} is disabled."
    assert refusal(athena.start_session, WorkGroup=name, EngineConfiguration={}) == said
    calculate = athena.start_calculation_execution
    assert refusal(calculate, SessionId=session_id, CodeBlock="1") == said
    assert get(athena, name)["State"] == "DISABLED"
    assert sessions_of(athena, name) == [session_id]
    listed = {group["Name"]: group["State"] for group in athena.list_work_groups()["WorkGroups"]}
    assert listed[name] == "DISABLED"

    athena.update_work_group(WorkGroup=name, State="ENABLED")
    assert calculate(SessionId=session_id, CodeBlock="1")["State"] == "CREATING"


# --- delete ------------------------------------------------------------------------------------


def test_a_workgroup_with_live_sessions_is_deleted_only_with_the_option_which_ends_them(
    athena: Any, server: Server
) -> None:
    athena.create_work_group(Name="full-house", Configuration=spark())
    ids = [
        athena.start_session(WorkGroup="full-house", EngineConfiguration={})["SessionId"]
        for _ in range(3)
    ]
    until(lambda: all(state(athena, each) == "IDLE" for each in ids))
    athena.start_calculation_execution(SessionId=ids[0], CodeBlock="hang")

    said = refusal(athena.delete_work_group, WorkGroup="full-house")
    assert said.startswith("WorkGroup full-house is not empty: 3 of its sessions are live.")
    assert get(athena, "full-house")["State"] == "ENABLED"

    athena.delete_work_group(WorkGroup="full-house", RecursiveDeleteOption=True)

    assert refusal(athena.get_work_group, WorkGroup="full-house") == (
        "WorkGroup full-house is not found."
    )
    until(lambda: all(state(athena, each) == "TERMINATED" for each in ids))
    for each in ids:
        assert athena.get_session(SessionId=each)["Status"]["StateChangeReason"]


def test_a_workgroup_that_is_made_again_does_not_show_its_namesakes_sessions_or_tags(
    athena: Any,
) -> None:
    arn = "arn:aws:athena:us-east-1:000000000000:workgroup/phoenix"

    def create(**more: Any) -> None:
        athena.create_work_group(Name="phoenix", Configuration=spark(), **more)

    def end(session_id: str) -> None:
        athena.terminate_session(SessionId=session_id)
        until(lambda: state(athena, session_id) == "TERMINATED")

    create(Tags=[{"Key": "k", "Value": "old"}])
    old = athena.start_session(WorkGroup="phoenix", EngineConfiguration={})["SessionId"]
    end(old)
    assert sessions_of(athena, "phoenix", StateFilter="TERMINATED") == [old]
    athena.delete_work_group(WorkGroup="phoenix")

    create(Description="another")
    new = athena.start_session(WorkGroup="phoenix", EngineConfiguration={})["SessionId"]
    end(new)

    assert sessions_of(athena, "phoenix", StateFilter="TERMINATED") == [new]
    assert athena.list_tags_for_resource(ResourceARN=arn)["Tags"] == []
    assert athena.get_session(SessionId=old)["WorkGroup"] == "phoenix"
    athena.delete_work_group(WorkGroup="phoenix")


# --- defaults of sessions ----------------------------------------------------------------------


def start(athena: Any, name: str, **request: Any) -> dict[str, Any]:
    """GetSession of a new session."""
    asked = {"EngineConfiguration": {}} | request
    session_id = athena.start_session(WorkGroup=name, **asked)["SessionId"]
    found: dict[str, Any] = athena.get_session(SessionId=session_id)
    return found


def test_a_session_that_asks_for_nothing_has_all_its_workgroup_says(
    athena: Any, make: Make
) -> None:
    found = start(athena, make(**CONFIGURATION))

    assert found["EngineConfiguration"] == ENGINE
    assert found["MonitoringConfiguration"] == MONITORING
    assert found["SessionConfiguration"]["ExecutionRole"] == ROLE
    directory = found["SessionConfiguration"]["WorkingDirectory"]
    assert directory == f"s3://sparkowl-results/full/{found['SessionId']}"


def test_what_a_session_asks_for_goes_before_its_workgroup_key_by_key(
    athena: Any, make: Make
) -> None:
    other = "arn:aws:iam::000000000000:role/Other"
    monitoring = {"ManagedLoggingConfiguration": {"Enabled": False}}

    found = start(
        athena,
        make(**CONFIGURATION),
        ExecutionRole=other,
        MonitoringConfiguration=monitoring,
        EngineConfiguration={
            "MaxConcurrentDpus": 4,
            "SparkProperties": {"spark.sql.ansi.enabled": "false", "spark.sql.caseSensitive": "1"},
        },
    )

    assert found["SessionConfiguration"]["ExecutionRole"] == other
    assert found["MonitoringConfiguration"] == monitoring
    configuration = found["EngineConfiguration"]
    assert configuration["MaxConcurrentDpus"] == 4
    assert configuration["CoordinatorDpuSize"] == 1
    assert configuration["SparkProperties"] == {
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.caseSensitive": "1",
    }
    # The workgroup's own value of a property that the session sets in the other place is gone.
    assert configuration["Classifications"] == [{"Name": "spark-defaults", "Properties": {}}]


def test_an_update_of_a_workgroup_is_for_sessions_that_start_later(athena: Any, make: Make) -> None:
    name = make(**CONFIGURATION)
    before = start(athena, name)

    athena.update_work_group(
        WorkGroup=name,
        ConfigurationUpdates={
            "EngineConfiguration": {"MaxConcurrentDpus": 5},
            "ResultConfigurationUpdates": {"RemoveOutputLocation": True},
        },
    )

    after = start(athena, name)
    again = athena.get_session(SessionId=before["SessionId"])
    assert after["EngineConfiguration"] == {"MaxConcurrentDpus": 5}
    assert after["SessionConfiguration"]["WorkingDirectory"].startswith("s3://sparkowl-results/")
    assert "/full/" not in after["SessionConfiguration"]["WorkingDirectory"]
    assert again["EngineConfiguration"] == ENGINE
    same = ("SessionConfiguration", "MonitoringConfiguration")
    assert [again[name] for name in same] == [before[name] for name in same]


def test_a_workgroup_whose_default_is_too_large_starts_no_session(athena: Any, make: Make) -> None:
    name = make(**spark(EngineConfiguration={"MaxConcurrentDpus": 61}))

    said = refusal(athena.start_session, WorkGroup=name, EngineConfiguration={})

    assert said == "EngineConfiguration.MaxConcurrentDpus is 61; a session may use at most 60 DPUs."


#: What each Spark engine takes of EngineConfiguration (User Guide, "Release versions").
TAKES: dict[str, set[str]] = {
    SPARK[0]: {"CoordinatorDpuSize", "DefaultExecutorDpuSize", "SparkProperties"},
    SPARK[1]: {"Classifications"},
    SPARK[2]: {
        "CoordinatorDpuSize",
        "DefaultExecutorDpuSize",
        "SparkProperties",
        "Classifications",
    },
}


@pytest.mark.parametrize("engine", SPARK)
@pytest.mark.parametrize("member", ENGINE)
def test_an_engine_takes_or_refuses_a_member_in_sessions_and_workgroups_alike(
    athena: Any, make: Make, engine: str, member: str
) -> None:
    name = make(**spark(engine))
    asked = {member: ENGINE[member]}
    said = f"EngineConfiguration.{member} is not supported for {engine}."
    updates = {"EngineConfiguration": asked}

    if member in TAKES[engine] | {"MaxConcurrentDpus", "AdditionalConfigs"}:
        assert start(athena, name, EngineConfiguration=asked)["EngineConfiguration"] == asked
        athena.update_work_group(WorkGroup=name, ConfigurationUpdates=updates)
        assert start(athena, name)["EngineConfiguration"] == asked
    else:
        calls = (
            (athena.start_session, {"WorkGroup": name, "EngineConfiguration": asked}),
            (athena.update_work_group, {"WorkGroup": name, "ConfigurationUpdates": updates}),
            (
                athena.create_work_group,
                {"Name": "x", "Configuration": spark(engine, EngineConfiguration=asked)},
            ),
        )
        for call, request in calls:
            assert refusal(call, **request) == said

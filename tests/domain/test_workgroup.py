"""Workgroups: which run Spark, how one is made, and what an update changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import AT

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.workgroup import (
    State,
    WorkGroup,
    built_in,
    create,
    require_spark,
    update,
)
from sparkowl.protocol import model

PRIMARY, SPARK = built_in(AT)
ROLE = "arn:aws:iam::000000000000:role/etl"
KMS = "arn:aws:kms:us-east-1:000000000000:key/1"


def made(engine: str = "Apache Spark version 3.5", **configuration: Any) -> WorkGroup:
    asked = {
        "EngineVersion": {"SelectedEngineVersion": engine},
        "ExecutionRole": ROLE,
        **configuration,
    }
    return create("etl", asked, description="d", at=AT)


def test_a_new_account_has_primary_as_aws_has_it_and_one_for_spark() -> None:
    assert (PRIMARY.name, PRIMARY.engine_version) == ("primary", "Athena engine version 3")
    assert (SPARK.name, SPARK.engine_version) == ("spark", "Apache Spark version 4.1")
    assert (PRIMARY.output_location, SPARK.output_location) == (None, None)
    # clients.md: what moto verified against AWS.
    assert PRIMARY.configuration == {
        "ResultConfiguration": {},
        "EnforceWorkGroupConfiguration": False,
        "PublishCloudWatchMetricsEnabled": False,
        "RequesterPaysEnabled": False,
        "EnableMinimumEncryptionConfiguration": False,
        "EngineVersion": {
            "SelectedEngineVersion": "AUTO",
            "EffectiveEngineVersion": "Athena engine version 3",
        },
    }


def test_a_session_starts_in_a_spark_workgroup_only() -> None:
    require_spark(SPARK)

    with pytest.raises(InvalidRequest) as refusal:
        require_spark(PRIMARY)
    assert str(refusal.value) == "Workgroup EngineVersion is not Spark."


def test_a_disabled_workgroup_starts_nothing() -> None:
    disabled = replace(SPARK, state=State.DISABLED)

    with pytest.raises(InvalidRequest, match=r"^WorkGroup spark is disabled\.$"):
        require_spark(disabled)


def test_an_output_location_has_no_final_slash() -> None:
    group = replace(
        SPARK, configuration={"ResultConfiguration": {"OutputLocation": "s3://bucket/prefix//"}}
    )

    assert group.output_location == "s3://bucket/prefix"


def test_the_states_are_exactly_athenas() -> None:
    assert {str(state) for state in State} == set(
        model.service().shape_for("WorkGroupState").metadata["enum"]
    )


# --- making one --------------------------------------------------------------------------------


def test_a_new_workgroup_has_what_was_said_and_awss_defaults_for_the_rest() -> None:
    group = made(PublishCloudWatchMetricsEnabled=True)

    assert (group.state, group.description, group.created_at) == (State.ENABLED, "d", AT)
    assert group.configuration == {
        "ResultConfiguration": {},
        "EnforceWorkGroupConfiguration": True,
        "PublishCloudWatchMetricsEnabled": True,
        "RequesterPaysEnabled": False,
        "EnableMinimumEncryptionConfiguration": False,
        "ExecutionRole": ROLE,
        "EngineVersion": {
            "SelectedEngineVersion": "Apache Spark version 3.5",
            "EffectiveEngineVersion": "Apache Spark version 3.5",
        },
    }


def test_without_an_engine_it_is_athena_sqls() -> None:
    group = create("sql", {}, description=None, at=AT)

    assert group.configuration["EngineVersion"] == {
        "SelectedEngineVersion": "AUTO",
        "EffectiveEngineVersion": "Athena engine version 3",
    }


def test_the_effective_version_is_ours_to_say() -> None:
    asked = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "PySpark engine version 3"}

    group = create("sql", {"EngineVersion": asked}, description=None, at=AT)

    assert group.engine_version == "Athena engine version 3"


@pytest.mark.parametrize(
    ("configuration", "rule"),
    [
        ({"ExecutionRole": None}, r"^executionRole is null or empty$"),
        ({"EngineVersion": {"SelectedEngineVersion": "Spark 9"}}, "Spark 9 is not one of: AUTO, "),
        ({"ResultConfiguration": {"OutputLocation": "/tmp"}}, "OutputLocation /tmp is not of the"),
        (
            {"ResultConfiguration": {"OutputLocation": "s3://UP/x"}},
            "is not of the form s3://bucket",
        ),
        (
            {"ResultConfiguration": {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS"}}},
            r"EncryptionConfiguration\.KmsKey is required for SSE_KMS",
        ),
        (
            {"EngineConfiguration": {"SparkProperties": {}}},
            r"EngineConfiguration\.SparkProperties is not supported for Apache Spark version 3\.5",
        ),
    ],
)
def test_what_a_workgroup_may_not_be_is_refused_by_name(
    configuration: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        made(**configuration)


# --- changing one ------------------------------------------------------------------------------


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    group = made(RequesterPaysEnabled=True)

    changed = update(group, {"PublishCloudWatchMetricsEnabled": True})

    assert changed == replace(
        group, configuration={**group.configuration, "PublishCloudWatchMetricsEnabled": True}
    )
    assert update(group, {}, description="", state=State.DISABLED) == replace(
        group, description="", state=State.DISABLED
    )


@pytest.mark.parametrize(
    ("before", "updates", "after"),
    [
        (
            {
                "ResultConfiguration": {
                    "OutputLocation": "s3://one/",
                    "ExpectedBucketOwner": "1" * 12,
                }
            },
            {"ResultConfigurationUpdates": {"OutputLocation": "s3://two"}},
            {
                "ResultConfiguration": {
                    "OutputLocation": "s3://two",
                    "ExpectedBucketOwner": "1" * 12,
                }
            },
        ),
        (
            {"ResultConfiguration": {"OutputLocation": "s3://one"}},
            {"ResultConfigurationUpdates": {"RemoveOutputLocation": True}},
            {"ResultConfiguration": {}},
        ),
        (
            {"ResultConfiguration": {"OutputLocation": "s3://one"}},
            {"ResultConfigurationUpdates": {"RemoveOutputLocation": False}},
            {"ResultConfiguration": {"OutputLocation": "s3://one"}},
        ),
        (
            {"BytesScannedCutoffPerQuery": 10_000_000},
            {"RemoveBytesScannedCutoffPerQuery": True},
            {"BytesScannedCutoffPerQuery": None},
        ),
        (
            {"CustomerContentEncryptionConfiguration": {"KmsKey": KMS}},
            {"RemoveCustomerContentEncryptionConfiguration": True},
            {"CustomerContentEncryptionConfiguration": None},
        ),
        (
            {},
            {"ManagedQueryResultsConfigurationUpdates": {"Enabled": True}},
            {"ManagedQueryResultsConfiguration": {"Enabled": True}},
        ),
        (
            {"EngineConfiguration": {"MaxConcurrentDpus": 5}},
            {"EngineConfiguration": {"MaxConcurrentDpus": 9}},
            {"EngineConfiguration": {"MaxConcurrentDpus": 9}},
        ),
    ],
)
def test_the_three_kinds_of_update(
    before: dict[str, Any], updates: dict[str, Any], after: dict[str, Any]
) -> None:
    changed = update(made(**before), updates).configuration

    assert {name: changed.get(name) for name in after} == after


def test_setting_and_removing_at_once_is_refused() -> None:
    updates = {
        "ResultConfigurationUpdates": {"OutputLocation": "s3://two", "RemoveOutputLocation": True}
    }

    with pytest.raises(InvalidRequest, match="OutputLocation and RemoveOutputLocation exclude"):
        update(made(), updates)


@pytest.mark.parametrize("other", ["AUTO", "PySpark engine version 3", "Apache Spark version 4.1"])
def test_the_engine_of_a_workgroup_stays(other: str) -> None:
    with pytest.raises(InvalidRequest, match=r"runs Apache Spark version 3\.5, which cannot be"):
        update(made(), {"EngineVersion": {"SelectedEngineVersion": other}})


def test_saying_the_engine_again_is_no_change() -> None:
    same = {"EngineVersion": {"SelectedEngineVersion": "Apache Spark version 3.5"}}
    sql = create("sql", {}, description=None, at=AT)

    assert update(made(), same) == made()
    named = {"EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"}}
    assert update(sql, named).engine_version == sql.engine_version


def test_an_engine_version_that_selects_nothing_changes_nothing() -> None:
    before = made()

    assert update(before, {"EngineVersion": {}}) == before


def test_the_built_in_workgroup_without_a_role_can_be_changed() -> None:
    changed = update(SPARK, {"RequesterPaysEnabled": True}, description="ours")

    assert changed.description == "ours"
    assert changed.created_at == SPARK.created_at < AT + timedelta(seconds=1)

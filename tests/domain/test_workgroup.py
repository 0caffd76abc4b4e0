"""Workgroups: which of them run Spark."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.builders import AT

from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.workgroup import State, built_in, require_spark
from sparkowl.protocol import model

PRIMARY, SPARK = built_in(AT)


def test_a_new_account_has_primary_as_aws_has_it_and_one_for_spark() -> None:
    assert (PRIMARY.name, PRIMARY.engine_version) == ("primary", "Athena engine version 3")
    assert (SPARK.name, SPARK.engine_version) == ("spark", "Apache Spark version 4.1")
    assert (PRIMARY.output_location, SPARK.output_location) == (None, None)


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

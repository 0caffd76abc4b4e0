"""The engines: what each takes, and how a session's configuration comes about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain import engine
from sparkowl.domain.engine import SPARK_3, SPARK_3_5, SPARK_4_1
from sparkowl.domain.errors import InvalidRequest

SIZES: dict[str, Any] = {"CoordinatorDpuSize": 1, "DefaultExecutorDpuSize": 1}
PROPERTIES: dict[str, Any] = {"SparkProperties": {"spark.sql.shuffle.partitions": "4"}}


def classified(**properties: str) -> dict[str, Any]:
    return {"Classifications": [{"Name": "spark-defaults", "Properties": properties}]}


@pytest.mark.parametrize(
    ("name", "configuration", "refused"),
    [
        (SPARK_3, SIZES | PROPERTIES | {"MaxConcurrentDpus": 5}, None),
        (SPARK_3, {}, None),
        (SPARK_3, classified(), "Classifications"),
        (SPARK_3_5, {}, None),
        (SPARK_3_5, classified() | {"MaxConcurrentDpus": 5}, None),
        (SPARK_3_5, {"CoordinatorDpuSize": 1}, "CoordinatorDpuSize"),
        (SPARK_3_5, {"DefaultExecutorDpuSize": 1}, "DefaultExecutorDpuSize"),
        (SPARK_3_5, PROPERTIES, "SparkProperties"),
        (SPARK_4_1, SIZES | PROPERTIES | classified() | {"MaxConcurrentDpus": 5}, None),
    ],
)
def test_an_engine_takes_what_it_takes_on_aws(
    name: str, configuration: dict[str, Any], refused: str | None
) -> None:
    if refused is None:
        engine.require_takes(name, configuration)
        return
    with pytest.raises(InvalidRequest) as refusal:
        engine.require_takes(name, configuration)
    assert str(refusal.value) == f"EngineConfiguration.{refused} is not supported for {name}."


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["spark"], "Name must be spark-defaults, not spark"),
        ([None], "Name must be spark-defaults, not None"),
        (["spark-defaults", "spark-defaults"], "names spark-defaults more than once"),
    ],
)
def test_the_one_classification_is_spark_defaults(names: list[str | None], rule: str) -> None:
    configuration = {"Classifications": [{"Name": name} if name else {} for name in names]}

    with pytest.raises(InvalidRequest, match=rule):
        engine.require_takes(SPARK_4_1, configuration)


def test_calculations_and_notebooks_are_refused_where_aws_has_none() -> None:
    for name in (SPARK_3, SPARK_4_1):
        engine.require_calculations(name, frozenset())
        engine.require_notebooks(name)

    with pytest.raises(InvalidRequest, match=r"not supported for Apache Spark version 3\.5"):
        engine.require_calculations(SPARK_3_5, frozenset())
    with pytest.raises(InvalidRequest, match=r"not supported for Apache Spark version 3\.5"):
        engine.require_notebooks(SPARK_3_5)
    engine.require_calculations(SPARK_3_5, frozenset({SPARK_3_5}))


def test_what_is_asked_for_stands_over_the_workgroups_defaults() -> None:
    defaults = {"MaxConcurrentDpus": 5, "SparkProperties": {"spark.a": "1", "spark.b": "1"}}
    asked = {"MaxConcurrentDpus": 9, "SparkProperties": {"spark.b": "2"}}

    assert engine.merged(defaults, asked) == {
        "MaxConcurrentDpus": 9,
        "SparkProperties": {"spark.a": "1", "spark.b": "2"},
    }
    assert engine.merged(defaults, {}) == defaults
    assert engine.merged({}, asked) == asked


_PLACES = st.sampled_from(["SparkProperties", "Classifications"])
_VALUES = st.dictionaries(st.sampled_from(["spark.a", "spark.b", "spark.c"]), st.text(max_size=3))


def in_place(place: str, properties: dict[str, str]) -> dict[str, Any]:
    if place == "Classifications":
        return classified(**properties)
    return {"SparkProperties": properties}


@given(_PLACES, _VALUES, _PLACES, _VALUES)
def test_a_property_that_is_asked_for_wins_wherever_either_stands(
    place: str, default: dict[str, str], other: str, asked: dict[str, str]
) -> None:
    result = engine.merged(in_place(place, default), in_place(other, asked))

    assert engine.spark_properties(result) == {**default, **asked}

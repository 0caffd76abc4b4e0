"""Which Spark properties a session may set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain.properties import review


def test_properties_are_sorted_by_when_they_can_be_set() -> None:
    asked = {"spark.sql.shuffle.partitions": "8", "spark.jars.packages": "a:b:1"}

    found = review(asked)

    assert found.at_run_time == {"spark.sql.shuffle.partitions": "8"}
    assert found.at_launch == {"spark.jars.packages": "a:b:1"}
    assert found.refused == ()


@pytest.mark.parametrize("key", ["hive.metastore.uris", "SPARK.master", "", "sparkle.x", "spark"])
def test_what_is_not_a_spark_property_is_ignored_as_athena_does(key: str) -> None:
    found = review({key: "x"})

    assert (found.at_launch, found.at_run_time, found.refused) == ({}, {}, ())


@pytest.mark.parametrize(
    "key",
    [
        "spark.athena.x",
        "spark.master",
        "spark.driver.extraJavaOptions",
        "spark.driver.memory",
        "spark.authenticate.secret",
        "spark.submit.pyFiles",
        "spark.plugins",
        "spark.extraListeners",
        "spark.ui.enabled",
        "spark.sql.warehouse.dir",
        "spark.hadoop.fs.s3.impl",
        "spark.jars",
        "spark.sql.shuffle.partitionsX",
        "spark.Authenticate",
    ],
)
def test_what_is_not_on_the_list_is_refused(key: str) -> None:
    found = review({key: "x"})

    assert found.refused == (key,)
    assert found.refusal == f"Spark properties that cannot be set in a session: {key}"


@pytest.mark.parametrize(
    "spelling",
    [
        " spark.master",
        "spark.master ",
        "\tspark.master\n",
        "\u00a0spark.master",
        "\x1fspark.master",
    ],
)
def test_blanks_around_a_key_do_not_hide_it(spelling: str) -> None:
    assert review({spelling: "local[64]"}).refused == ("spark.master",)


@pytest.mark.parametrize("value", ["false", "FALSE", " False "])
def test_the_secret_of_the_drivers_ports_cannot_be_switched_off(value: str) -> None:
    assert review({"spark.authenticate": value}).refused == ("spark.authenticate",)
    assert review({"spark.authenticate": "true"}).refused == ()


@pytest.mark.parametrize("end", ["a\nspark.master", "a=b spark.master", "a b", "a\0", "a\rb", ""])
def test_a_listed_prefix_does_not_let_anything_but_a_name_through(end: str) -> None:
    key = f"spark.sql.catalog.{end}"

    found = review({key: "x"})

    assert bool(found.refused) == (end != "")


def test_keys_are_named_in_order_so_that_the_reason_is_always_the_same() -> None:
    assert review({"spark.z": "", "spark.a": ""}).refused == ("spark.a", "spark.z")


@given(st.dictionaries(st.text(), st.text()))
def test_every_property_is_set_refused_or_ignored_and_none_twice(asked: dict[str, str]) -> None:
    found = review(asked)

    kept = [*found.at_launch, *found.at_run_time, *found.refused]
    assert set(kept) == {key.strip() for key in asked if key.strip().startswith("spark.")}
    assert not set(found.at_launch) & set(found.at_run_time)

"""The lists of properties that Sparks know, and the engines behind the names."""

from __future__ import annotations

import pytest

from sparkowl.domain.sparks import OWN, Known, Property, Spark, Sparks

TEXT = (
    "# The properties of Apache Spark 4.1.4, as it says itself.\n"
    "spark.a launch =spark.old =spark.older\n"
    "spark.b run-time <spark.a\n"
    "spark.c gone\n"
)


def test_a_list_is_read() -> None:
    known = Known.parse(TEXT)

    assert known.spark_version == "4.1.4"
    assert known.properties == {
        "spark.a": Property("launch"),
        "spark.b": Property("run-time", follows="spark.a"),
        "spark.c": Property("gone"),
    }
    assert known.canonical("spark.older") == "spark.a"
    assert known.canonical("spark.b") == "spark.b"
    assert known.canonical("spark.unheard") == "spark.unheard"


def test_names_that_were_changed_twice_are_followed_to_the_end_and_circles_end() -> None:
    text = TEXT + "spark.d launch =spark.a\nspark.x launch =spark.y\nspark.y launch =spark.x\n"
    known = Known.parse(text)

    assert known.canonical("spark.old") == "spark.d"
    assert known.canonical("spark.x") in {"spark.x", "spark.y"}


@pytest.mark.parametrize("text", ["x\n", TEXT + "spark.e sometimes\n", TEXT + "spark.e\n"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list|means nothing|not enough values"):
        Known.parse(text)


def test_a_list_limited_to_others_keeps_its_version_and_its_spellings() -> None:
    limited = Known.parse(TEXT + "spark.new run-time\n").limited_to([Known.parse(TEXT)])

    assert limited == Known.parse(TEXT)


def test_an_engine_without_an_environment_is_our_own() -> None:
    known = Known.parse(TEXT)
    own, other = Spark(OWN, known), Spark("3.5.8 /python", known)

    engines = Sparks(own=own, registered={"Three": other})

    assert engines.of("Three") is other
    assert engines.of("Four") is own

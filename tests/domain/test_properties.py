"""Which Spark properties a session may set, on the properties that two real Sparks know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.domain import property_rules as rules
from sparkowl.domain.properties import Review, review
from sparkowl.domain.sparks import Known
from sparkowl.launchers.engines import looked_at

SPARK_3, SPARK_4 = looked_at()
SPARKS = [pytest.param(known, id=known.spark_version) for known in (SPARK_3, SPARK_4)]


def ask(properties: dict[str, str], known: Known = SPARK_4) -> Review:
    return review(properties, known)


def refused(key: str, value: str = "x", known: Known = SPARK_4) -> str:
    """Why the one property is refused; empty when it is not."""
    found = ask({key: value}, known)
    assert not (found.refused and (found.at_launch or found.at_run_time))
    return "".join(found.refused.values())


def test_properties_are_sorted_by_when_they_can_be_set() -> None:
    found = ask({"spark.sql.shuffle.partitions": "8", "spark.jars.packages": "a:b:1"})

    assert found.at_run_time == {"spark.sql.shuffle.partitions": "8"}
    assert found.at_launch == {"spark.jars.packages": "a:b:1"}
    assert not found.refused


@pytest.mark.parametrize(
    "key",
    ["hive.metastore.uris", "SPARK.master", "Spark.master", "", "sparkle.x", "spark",
     "\u200bspark.master", "\uff53park.master", "master", "jars", "files", "yarn.dist.files",
     "submit.pyFiles", "=spark.master", "#spark.master", "\\u0073park.master"],
)  # fmt: skip
def test_what_is_not_a_spark_property_is_ignored_as_athena_does(key: str) -> None:
    """Ignored means that no driver gets it: not that it is passed on unseen."""
    assert ask({key: "x"}) == Review({}, {}, {})


# --- what everybody's programs set ---------------------------------------------------------------

_CATALOG = "spark.sql.catalog.spark_catalog"
ICEBERG = {
    _CATALOG: "org.apache.iceberg.spark.SparkSessionCatalog",
    f"{_CATALOG}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
    f"{_CATALOG}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
}
HUDI = {
    _CATALOG: "org.apache.spark.sql.hudi.catalog.HoodieCatalog",
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    "spark.sql.extensions": "org.apache.spark.sql.hudi.HoodieSparkSessionExtension",
}
DELTA = {
    _CATALOG: "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
}
ENCRYPTION = {
    "spark.authenticate": "true",
    "spark.io.encryption.enabled": "true",
    "spark.network.crypto.enabled": "true",
}
OTHERS = {
    "spark.hadoop.fs.s3.useRequesterPaysHeader": "true",
    "spark.hadoop.aws.glue.catalog.separator": "/",
    "spark.hadoop.hive.metastore.glue.catalogid": "123456789012",
    "spark.sql.catalog.lake.warehouse": "s3://lake/warehouse",
    "spark.sql.iceberg.vectorization.enabled": "false",
    "spark.jars": "s3://jars/a.jar, s3a://jars/b.jar",
    "spark.jars.packages": "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.9.2",
    "spark.files": "s3://jars/a.txt,s3a://jars/b/",
    "spark.archives": "s3://jars/env.zip#env, s3://jars/b.tar.gz",
    "spark.submit.pyFiles": "s3://jars/a.py,s3://jars/b.zip",
    "spark.dynamicAllocation.maxExecutors": "59",
    "spark.executor.memory": "10g",
}


@pytest.mark.parametrize("known", SPARKS)
@pytest.mark.parametrize("asked", [ICEBERG, HUDI, DELTA, ENCRYPTION, OTHERS])
def test_the_sets_that_athena_documents_and_dbt_sends_are_taken(
    known: Known, asked: dict[str, str]
) -> None:
    found = ask(asked, known)

    assert not found.refused
    assert {**found.at_launch, **found.at_run_time} == {
        key: value for key, value in asked.items() if key not in rules.PINNED
    }


@pytest.mark.parametrize("known", SPARKS)
@pytest.mark.parametrize("asked", [ICEBERG, HUDI, DELTA])
def test_a_catalogue_of_a_formats_class_is_fixed_at_launch(
    known: Known, asked: dict[str, str]
) -> None:
    assert ask(asked, known).at_launch == asked
    other = {key.replace("spark_catalog", "lake"): value for key, value in asked.items()}
    assert ask(other, known).at_launch == other


def test_the_name_of_a_class_does_not_let_a_file_of_the_server_through() -> None:
    for value in ("file:///etc, org.apache.iceberg.x", "/etc,io.delta.x"):
        assert "file of the server" in refused("spark.sql.catalog.lake.warehouse", value)


# --- spellings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [" spark.master", "spark.master ", "\tspark.master\n", "\u00a0spark.master", "\x00spark.master",
     "\x1fspark.master", "spark.master\x00", " \x01\u2003spark.master\x1b ", "\x85spark.master"],
)  # fmt: skip
def test_blanks_and_control_characters_around_a_key_do_not_hide_it(spelling: str) -> None:
    assert list(ask({spelling: "local[64]"}).refused) == ["spark.master"]


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u00a0", "\x00"])
def test_a_property_is_passed_on_under_the_name_that_was_judged(blank: str) -> None:
    found = ask({f"{blank}spark.sql.ansi.enabled{blank}": "true"})

    assert found.at_run_time == {"spark.sql.ansi.enabled": "true"}


@pytest.mark.parametrize(
    "key",
    ["spark.sql.catalog.a\nspark.master", "spark.sql.catalog.a=b", "spark.sql.catalog.a b",
     "spark.sql.catalog.a\rb", "spark.sql.catalog.a:b", "spark.sql.catalog.a#b",
     "spark.sql.catalog.a\\b", "spark.sql.catalog.\u00e9", "spark.sql.catalog.a\u2028b",
     "spark.sql.catalog.\ud800", "spark.sql.catalog.", "spark.sql.catalog.a.",
     "spark.sql.catalog.a..b", "spark.sql.catalog.a/../b", "spark.sql.catalog.9",
     "spark.sql.ansi.enabled\n", "spark.sql.ansi.enabled=", "spark.", "spark..master",
     "spark.Authenticate", "spark.sql.shuffle.partitionsX", "spark.sql.shuffle.Partitions",
     "spark.JARS", "spark.\u017fql.ansi.enabled", "spark.sql.catalog." + "x" * 500],
)  # fmt: skip
def test_what_only_looks_like_a_listed_name_is_refused(key: str) -> None:
    if key.endswith("\n"):
        key = key[:-1] + "\n."  # a blank at the end is no part of the name
    assert refused(key)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("spark.yarn.access.hadoopFileSystems", "spark.kerberos.access.hadoopFileSystems"),
        ("spark.yarn.access.namenodes", "spark.kerberos.access.hadoopFileSystems"),
        ("spark.yarn.keytab", "spark.kerberos.keytab"),
        ("spark.yarn.jar", "spark.yarn.jars"),
        ("spark.files.userClassPathFirst", "spark.executor.userClassPathFirst"),
        ("spark.yarn.driver.memoryOverhead", "spark.driver.memoryOverhead"),
        ("spark.yarn.max.worker.failures", "spark.executor.maxNumFailures"),
    ],
)
@pytest.mark.parametrize("known", SPARKS)
def test_an_older_spelling_is_judged_by_its_name_of_today(
    known: Known, older: str, newer: str
) -> None:
    assert list(ask({older: "x"}, known).refused) == [newer]


@pytest.mark.parametrize("known", SPARKS)
def test_an_older_spelling_of_what_may_be_set_is_set_by_its_name_of_today(known: Known) -> None:
    found = ask({"spark.yarn.executor.memoryOverhead": "512m"}, known)

    assert found.at_launch == {"spark.executor.memoryOverhead": "512m"}


def test_one_property_with_two_values_is_refused_however_it_is_spelled() -> None:
    twice = [
        {"spark.sql.ansi.enabled": "true", " spark.sql.ansi.enabled": "false"},
        {"spark.executor.memoryOverhead": "1g", "spark.yarn.executor.memoryOverhead": "2g"},
    ]
    for asked in twice:
        found = ask(asked)
        assert list(found.refused.values()) == ["it is given twice, with two values"]
        assert not found.at_launch
        assert not found.at_run_time


def test_one_property_given_twice_with_one_value_is_set_once() -> None:
    found = ask({"spark.sql.ansi.enabled": "true", "\tspark.sql.ansi.enabled": "true"})

    assert found == Review({}, {"spark.sql.ansi.enabled": "true"}, {})


# --- un-setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["false", "FALSE", " False ", "", " ", "0", "no", "null", "true\nx", "${x}", "true,"]
)
def test_what_is_pinned_cannot_be_unset(value: str) -> None:
    assert refused("spark.authenticate", value)
    assert refused(" spark.authenticate\t", value)


@pytest.mark.parametrize("value", ["true", "TRUE", " true "])
def test_what_is_pinned_may_be_given_as_it_is_and_changes_nothing(value: str) -> None:
    assert ask({"spark.authenticate": value}) == Review({}, {}, {})


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.jars", "/etc/passwd"),
        ("spark.jars", "file:///etc/passwd"),
        ("spark.jars", "local:/opt/x.jar"),
        ("spark.jars", "s3://jars/a.jar,/etc/passwd"),
        ("spark.jars", "s3://jars/a.jar#x"),
        ("spark.jars", "a.jar"),
        ("spark.jars", "../../x.jar"),
        ("spark.jars", ""),
        ("spark.jars", "s3://jars/../c/a.jar"),
        ("spark.jars", "s3://jars/%2e%2e/%2E./etc/a.jar"),
        ("spark.jars", "s3://jars/a.jar,s3://jars/.%2e/a.jar"),
        ("spark.files", "/etc/passwd"),
        ("spark.files", "s3://jars/a.txt,file:/etc/passwd"),
        ("spark.files", "s3://jars/../../etc/passwd"),
        ("spark.files", "https://files.example.com/a.txt"),
        ("spark.submit.pyFiles", "local:/opt/x.py"),
        ("spark.submit.pyFiles", "s3://jars/a.py#x"),
        ("spark.archives", "/opt/env.zip#env"),
        ("spark.archives", "s3://jars/env.zip#../../x"),
        ("spark.archives", "s3://jars/env.zip#.."),
        ("spark.archives", "s3://jars/env.zip#a/b"),
        ("spark.archives", "s3://jars/env.zip#"),
        ("spark.archives", "s3://jars/env.zip#a#b"),
        ("spark.archives", "s3://jars/env.zip#/etc"),
        ("spark.executor.instances", "\u0663"),
        ("spark.executor.memory", "1\u212a"),
        ("spark.rdd.compress", "fal\u017fe"),
        ("spark.jars.packages", "file:/x"),
        ("spark.jars.packages", "a:b"),
        ("spark.jars.repositories", "file:///x"),
        ("spark.jars.repositories", "https://x/,file:///etc"),
        ("spark.serializer", "../x"),
        ("spark.sql.extensions", "a b"),
        ("spark.executor.instances", "-1"),
        ("spark.io.encryption.enabled", ""),
        ("spark.sql.catalog.c.warehouse", "file:///etc"),
        ("spark.sql.catalog.c.warehouse", " FILE:/etc"),
        ("spark.sql.catalog.c.warehouse", "/etc"),
        ("spark.sql.catalog.c.x", "jar:file:/x!/y"),
        ("spark.sql.catalog.c.x", "har:file:///x.har"),
        ("spark.sql.catalog.c.x", "HAR://file-localhost/x.har"),
        ("spark.sql.catalog.c.hadoop.fs.s3.impl", "x.Y"),
        ("spark.sql.session.timeZone", "UTC\nspark.master=local[64]"),
        ("spark.sql.session.timeZone", "UTC\0"),
        ("spark.sql.session.timeZone", "UTC\u2028"),
        ("spark.sql.session.timeZone", "\ud800"),
        ("spark.sql.session.timeZone", "x" * 51201),
    ],
)
def test_a_value_is_bound_to_what_its_rule_can_defend(key: str, value: str) -> None:
    assert refused(key, value)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["spark.athena.x", "spark.master", "spark.driver.extraJavaOptions", "spark.driver.memory",
     "spark.driver.defaultJavaOptions", "spark.executor.extraJavaOptions",
     "spark.executor.extraClassPath", "spark.driver.extraLibraryPath",
     "spark.authenticate.secret", "spark.authenticate.secret.file", "spark.submit.pyFiles",
     "spark.submit.deployMode", "spark.plugins", "spark.extraListeners", "spark.ui.port",
     "spark.sql.warehouse.dir", "spark.sql.queryExecutionListeners", "spark.hadoop.fs.s3.impl",
     "spark.hadoop.fs.defaultFS", "spark.files", "spark.archives", "spark.yarn.dist.files",
     "spark.yarn.dist.archives", "spark.kubernetes.file.upload.path", "spark.pyspark.python",
     "spark.pyspark.driver.python", "spark.sql.execution.pyspark.python", "spark.r.command",
     "spark.metrics.conf", "spark.metrics.conf.*.sink.x", "spark.ssl.keyStore",
     "spark.ssl.ui.trustStore", "spark.log.level", "spark.log.callerContext", "spark.home",
     "spark.eventLog.dir", "spark.local.dir", "spark.jars.ivy", "spark.jars.ivySettings",
     "spark.redaction.regex", "spark.executorEnv.PATH", "spark.driverEnv.PATH",
     "spark.sql.legacy.setCommandRejectsSparkCoreConfs", "spark.sql.artifact.isolation.enabled",
     "spark.sql.hive.metastore.jars.path", "spark.sql.maven.additionalRemoteRepositories",
     "spark.sql.sources.commitProtocolClass", "spark.connect.grpc.binding.port"],
)  # fmt: skip
@pytest.mark.parametrize("known", SPARKS)
def test_what_reaches_further_than_the_session_is_refused(known: Known, key: str) -> None:
    assert refused(key, "true", known)


def test_the_reason_names_the_property_and_the_rule() -> None:
    found = ask({"spark.z": "", "spark.master": "local", "spark.executor.instances": "many"})

    assert found.refusal == (
        "Spark properties that cannot be set in a session: "
        "spark.executor.instances (its value must be a number); "
        "spark.master (where and how Spark runs is the server's); "
        "spark.z (nobody has found it safe yet)"
    )


def test_the_reason_has_an_end_and_is_one_line() -> None:
    found = ask({f"spark.{n}\n{'x' * 1000}": "x" for n in range(10, 40)})

    assert len(found.refusal) < 3000
    assert found.refusal.isprintable()
    assert found.refusal.endswith("; and 20 more")


def test_a_property_of_another_spark_is_refused_by_name() -> None:
    assert refused("spark.sql.scripting.enabled", "true", SPARK_4) == ""
    assert (
        refused("spark.sql.scripting.enabled", "true", SPARK_3)
        == "Spark 3.5.8 has no such property"
    )


def test_what_a_later_spark_adds_is_refused_until_somebody_looked_at_it() -> None:
    text = (
        "# The properties of Apache Spark 4.9.0, as it says itself.\n"
        "spark.sql.adaptive.brandNew run-time\n"
        "spark.sql.ansi.enabled run-time =spark.sql.ansi.mode\n"
    )
    later = Known.parse(text)
    seen = later.limited_to([SPARK_3, SPARK_4])

    assert refused("spark.sql.adaptive.brandNew", "1", later) == ""
    assert refused("spark.sql.adaptive.brandNew", "1", seen)
    assert ask({"spark.sql.ansi.mode": "true"}, seen).at_run_time == {
        "spark.sql.ansi.enabled": "true"
    }


@pytest.mark.parametrize("known", SPARKS)
def test_every_property_of_spark_that_no_rule_names_is_refused(known: Known) -> None:
    """Whatever its value: no kind of value makes up for a name that is not on the list."""
    values = ("true", "1", "x", "a.B", "s3://b/k.jar", "")
    named = {*rules.LAUNCH, *rules.UNDECLARED, *rules.PINNED}
    spellings = {*known.properties, *known.aliases}

    for spelling in spellings:
        key = known.canonical(spelling)
        listed = (
            key in named
            or key in rules.RUN_TIME
            or key.startswith(tuple(entry for entry in rules.RUN_TIME if entry.endswith(".")))
        )
        if not listed or key in rules.EXCEPT:
            assert all(refused(spelling, value, known) for value in values), spelling


@pytest.mark.parametrize("known", SPARKS)
def test_nothing_that_may_be_set_lends_its_value_to_what_may_not(known: Known) -> None:
    """While B is not set Spark may read A for it; then whoever sets A sets B."""
    for key, entry in known.properties.items():
        if entry.follows is not None and not may_be_set(key, known):
            assert not may_be_set(entry.follows, known), (key, entry.follows)


def may_be_set(key: str, known: Known) -> bool:
    examples = (
        "true",
        "1",
        "1s",
        "1m",
        "a.B",
        "a:b:1",
        "a:b",
        "s3://b/k.jar",
        "https://x/",
        "FIFO",
    )
    return any(not refused(key, value, known) for value in examples)


@pytest.mark.parametrize("known", SPARKS)
def test_every_rule_is_of_a_property_that_some_spark_has(known: Known) -> None:
    both = SPARK_3.properties.keys() | SPARK_4.properties.keys()

    for key in (*rules.LAUNCH, *rules.PINNED):
        assert key in both or key in rules.UNDECLARED, key
    for entry in rules.RUN_TIME:
        assert any(key.startswith(entry) for key in both), entry
    assert all(not key.endswith(".") for key in rules.LAUNCH)


@given(st.dictionaries(st.text(), st.text()))
def test_every_property_is_set_refused_or_ignored_and_none_twice(asked: dict[str, str]) -> None:
    prefixed = {f"spark.{key}": value for key, value in asked.items()}

    for properties in (asked, prefixed):
        found = ask(properties)
        assert not set(found.at_launch) & set(found.at_run_time)
        assert not (set(found.at_launch) | set(found.at_run_time)) & set(found.refused)


_SOME = st.sampled_from(sorted({*SPARK_3.properties, *SPARK_4.properties, *SPARK_4.aliases}))
_TAILS = st.text(alphabet=" .\t\n\r=:#!\\/-_aZ9\x00\u00a0\u2028\ud800", max_size=4)


@given(_TAILS, _SOME, _TAILS, st.text(max_size=10), st.sampled_from([SPARK_3, SPARK_4]))
def test_no_key_outside_the_rules_is_ever_accepted(
    before: str, key: str, after: str, value: str, known: Known
) -> None:
    found = ask({before + key + after: value}, known)

    for name, given_value in {**found.at_launch, **found.at_run_time}.items():
        assert name.isascii()
        assert name.isprintable()
        assert not set(given_value) & set("\n\r\0")
        listed = (
            name in rules.LAUNCH
            or name in rules.UNDECLARED
            or (name in known.properties and known.properties[name].when == "run-time")
            or rules.FREE.fullmatch(name)
        )
        assert listed, name
        assert name not in rules.EXCEPT

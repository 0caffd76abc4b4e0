"""Buckets as Hadoop keys; that Spark understands them is test_mounts."""

from __future__ import annotations

from sparkowl.agent import buckets


def test_each_bucket_is_mounted_on_its_folder() -> None:
    keys = buckets.mount_keys({"lake": "/data/a lake"})
    assert keys == {"fs.viewfs.mounttable.lake.linkFallback": "sparkowl-folder:///data/a%20lake"}


def test_both_schemes_are_taken_over_also_without_a_bucket() -> None:
    properties = buckets.spark_properties({}, spark_version="4.1.4")
    for scheme in ("s3", "s3a"):
        assert properties[f"spark.hadoop.fs.{scheme}.impl"].endswith("OverloadScheme")
    assert not [key for key in properties if "mounttable" in key]


def test_a_scheme_that_the_operator_chose_is_left_alone() -> None:
    chosen = {"spark.hadoop.fs.s3a.impl": "S3AFileSystem"}
    properties = buckets.spark_properties({"lake": "/data/lake"}, chosen, spark_version="4.1.4")
    assert not [key for key in properties if ".s3a" in key]
    assert "spark.hadoop.fs.s3.impl" in properties

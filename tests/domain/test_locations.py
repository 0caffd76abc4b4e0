"""What is an ``s3://`` URI, and what it names."""

from __future__ import annotations

import pytest

from sparkowl.domain.locations import Location, parse, parse_object


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://b/k", "b", "k"),
        ("S3://b/K", "b", "K"),
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/a/b//c/", "b", "a/b//c/"),
        ("s3://b/a%20b?c#d", "b", "a%20b?c#d"),
        ("s3://b/a\nb", "b", "a\nb"),
    ],
)
def test_a_uri_names_a_bucket_and_a_key(uri: str, bucket: str, key: str) -> None:
    assert parse(uri) == Location(bucket, key)


@pytest.mark.parametrize("uri", ["", "b/k", "s3:/b/k", "https://b/k", "s3a://b/k", "/s3://b/k"])
def test_another_text_is_none(uri: str) -> None:
    with pytest.raises(ValueError, match=r"^must be like s3://bucket/key$"):
        parse(uri)


def test_a_uri_without_a_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match="names no bucket"):
        parse("s3:///k")


def test_a_bucket_alone_is_no_object() -> None:
    assert parse_object("s3://b/k") == Location("b", "k")
    with pytest.raises(ValueError, match="names no object"):
        parse_object("s3://b/")


def test_a_location_is_written_as_it_is_read() -> None:
    for uri in ("s3://b", "s3://b/a//b c/"):
        assert parse(uri).uri == uri

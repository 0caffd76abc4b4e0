"""URLs that carry their own signature, of both versions."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.s3.conftest import Reply, Served, Start

VERSIONS = ["s3", "s3v4"]


def use(
    served: Served,
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    parts = urlsplit(url)
    return served.send(method, f"{parts.path}?{parts.query}", body, headers, signed=False)


def presign(served: Served, version: str, operation: str, bucket: str, **arguments: str) -> str:
    url: str = served.client(signature_version=version).generate_presigned_url(
        operation, {"Bucket": bucket, "Key": "a b/ü", **arguments}, ExpiresIn=60
    )
    return url


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_reads_and_writes(served: Served, bucket: str, version: str) -> None:
    url = presign(served, version, "put_object", bucket, ContentType="text/x")
    assert use(served, url, "PUT", b"hello", {"Content-Type": "text/x"}).status == 200
    reply = use(served, presign(served, version, "get_object", bucket))
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.headers["content-type"] == "text/x"


def test_boto3_presigns_by_version_2_when_nobody_asks(served: Served, bucket: str) -> None:
    served.files.put_bytes(bucket, "a", b"x")
    url = served.client().generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"})
    assert "AWSAccessKeyId=" in url
    assert use(served, url).body == b"x"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_is_for_what_it_was_made_for(served: Served, bucket: str, version: str) -> None:
    served.files.put_bytes(bucket, "a b/ü", b"x")
    url = presign(served, version, "get_object", bucket)
    other = url.replace("/a%20b/", "/other/")
    for refused in (
        use(served, other),
        use(served, url, "PUT", b"y"),
        use(served, url, "DELETE"),
        use(served, url + "&uploads", "POST"),
    ):
        assert (refused.status, refused.code) == (403, "SignatureDoesNotMatch")
    assert served.files.read_bytes(bucket, "a b/ü") == b"x"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_ends(serving: Start, tmp_path: Path, version: str) -> None:
    with serving(tmp_path) as served:
        served.files.create_bucket("lake")
        url = presign(served, version, "get_object", "lake")
        assert use(served, url).code == "NoSuchKey"
        served.clock.advance(62)
        reply = use(served, url)
        assert (reply.status, reply.code) == (403, "AccessDenied")
        assert b"Request has expired" in reply.body


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_overrides_headers(served: Served, bucket: str, version: str) -> None:
    served.files.put_bytes(bucket, "a b/ü", b"x")
    url = presign(
        served, version, "get_object", bucket, ResponseContentDisposition="attachment; x=y"
    )
    assert use(served, url).headers["content-disposition"] == "attachment; x=y"


def test_a_url_cannot_end_a_header_line(served: Served, bucket: str) -> None:
    served.files.put_bytes(bucket, "a b/ü", b"x")
    url = presign(served, "s3v4", "get_object", bucket, ResponseContentType="a\r\nset-cookie: b")
    reply = use(served, url)
    assert (reply.status, reply.code) == (400, "InvalidArgument")


def test_headers_may_be_in_a_version_2_url(served: Served, bucket: str) -> None:
    url: str = served.client(signature_version="s3").generate_presigned_url(
        "put_object", {"Bucket": bucket, "Key": "a", "Metadata": {"owner": "me"}}
    )
    assert "x-amz-meta-owner=me" in url
    assert use(served, url, "PUT", b"x").status == 200
    assert served.files.entry(bucket, "a").about.metadata == {"owner": "me"}


def test_a_url_that_copies_cannot_be_made_one_that_writes(served: Served, bucket: str) -> None:
    """Only one claim is checked; a second one must not change how the call is read."""
    served.files.put_bytes(bucket, "source", b"x")
    path, expires = f"/{bucket}/a", 4_102_444_800
    text = f"PUT\n\n\n{expires}\nx-amz-copy-source:{bucket}/source\n{path}"
    digest = hmac.digest(served.secret.encode(), text.encode(), "sha1")
    query = {
        "AWSAccessKeyId": served.key,
        "Expires": expires,
        "Signature": base64.b64encode(digest).decode(),
        "x-amz-copy-source": f"{bucket}/source",
    }
    url = f"{path}?{urlencode(query)}"

    refused = use(served, url, "PUT", b"evil", {"Authorization": "none"})

    assert (refused.status, refused.code) == (400, "InvalidArgument")
    assert use(served, url, "PUT").status == 200
    assert (served.files.path(bucket, "a")).read_bytes() == b"x"

"""The bucket in the host: ``http://lake.s3.localhost:8765/key``."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.serving import serving as whole_server

from sparkowl.s3.hosts import bucket_in

if TYPE_CHECKING:
    from tests.s3.conftest import Reply, Served

MIB = 1 << 20
STYLE = {"s3": {"addressing_style": "virtual"}}


@pytest.fixture
def s3(served: Served) -> Any:
    return hosted(served, **STYLE)


def hosted(served: Served, **config: Any) -> Any:
    return resolving(served.client(url=f"http://s3.localhost:{served.port}", **config))


def resolving(client: Any) -> Any:
    """A client that resolves names under ``.localhost``, which not every machine does."""

    def resolve(request: Any, **_: Any) -> None:
        parts = urlsplit(request.url)
        request.headers["Host"] = parts.netloc
        request.url = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()

    client.meta.events.register_last("before-send", resolve)
    return client


def hosts_of(client: Any) -> list[str]:
    """Which hosts a client's requests go to, as they go."""
    asked: list[str] = []

    def note(request: Any, **_: Any) -> None:
        parts = urlsplit(request.url)
        asked.append(f"{parts.hostname}{parts.path}")

    client.meta.events.register_first("before-send", note)
    return asked


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("lake.s3.localhost", "lake"),
        ("lake.s3.localhost:8765", "lake"),
        ("a.b-c.s3.localhost:8765", "a.b-c"),
        ("LAKE.S3.LocalHost", "lake"),
        ("lake.s3.localhost.:8765", "lake"),
        ("s3.localhost.s3.localhost", "s3.localhost"),
        ("../x.s3.localhost", "../x"),
        ("s3.localhost", ""),
        ("s3.localhost:8765", ""),
        (".s3.localhost", ""),
        ("lakes3.localhost", ""),
        ("lake.s3.localhost.example.org", ""),
        ("lake.s3xlocalhost", ""),
        ("lake.s3.localhost:80:90", ""),
        ("127.0.0.1:8765", ""),
        ("localhost:8765", ""),
        ("", ""),
    ],
)
def test_a_host_names_a_bucket_or_none(host: str, bucket: str) -> None:
    assert bucket_in(host) == bucket


@pytest.mark.parametrize("name", ["virtual-lake", "lake.with.dots"])
def test_everything_goes_to_the_buckets_own_host(s3: Any, name: str) -> None:
    asked = hosts_of(s3)
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="a b/ü+%2F", Body=b"hello", Metadata={"a": "b"})
    assert s3.get_object(Bucket=name, Key="a b/ü+%2F")["Body"].read() == b"hello"
    assert s3.head_object(Bucket=name, Key="a b/ü+%2F")["Metadata"] == {"a": "b"}
    s3.copy_object(Bucket=name, Key="copy", CopySource={"Bucket": name, "Key": "a b/ü+%2F"})
    found = s3.list_objects_v2(Bucket=name)
    assert [one["Key"] for one in found["Contents"]] == ["a b/ü+%2F", "copy"]
    upload = s3.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    where = {"Bucket": name, "Key": "big", "UploadId": upload}
    part = s3.upload_part(**where, PartNumber=1, Body=bytes(MIB))
    done = s3.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert urlsplit(done["Location"]).path == "/big"
    deleted = s3.delete_objects(
        Bucket=name, Delete={"Objects": [{"Key": key} for key in ("a b/ü+%2F", "copy", "big")]}
    )
    assert len(deleted["Deleted"]) == 3
    s3.delete_bucket(Bucket=name)
    assert name not in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    assert asked.pop() == "s3.localhost/"
    assert {host.partition("/")[0] for host in asked} == {f"{name}.s3.localhost"}


def test_the_plain_name_is_path_style(served: Served, bucket: str) -> None:
    client = hosted(served, s3={"addressing_style": "path"})
    asked = hosts_of(client)
    client.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert asked == [f"s3.localhost/{bucket}/a"]
    assert served.files.read_bytes(bucket, "a") == b"x"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_is_for_its_bucket(served: Served, bucket: str, version: str) -> None:
    client = hosted(served, signature_version=version, **STYLE)
    where = {"Bucket": bucket, "Key": "a b/ü"}
    put = urlsplit(client.generate_presigned_url("put_object", where))
    get = urlsplit(client.generate_presigned_url("get_object", where))
    assert put.hostname == f"{bucket}.s3.localhost"
    assert send(served, "PUT", put, b"hello").status == 200
    assert send(served, "GET", get).body == b"hello"

    served.files.create_bucket(f"other-{bucket}")
    served.files.put_bytes(f"other-{bucket}", "a b/ü", b"secret")
    other = get._replace(netloc=f"other-{get.netloc}")
    assert send(served, "GET", other).code == "SignatureDoesNotMatch"


def send(served: Served, method: str, url: Any, body: bytes | None = None) -> Reply:
    headers = {"Host": url.netloc}
    return served.send(method, f"{url.path}?{url.query}", body, headers, signed=False)


def test_the_host_is_what_was_signed(served: Served, bucket: str) -> None:
    """Signed for one bucket, sent to another."""
    served.files.create_bucket(f"x-{bucket}")
    for named in (bucket, f"x-{bucket}"):
        served.files.put_bytes(named, "a", named.encode())
    signed = served.signed("GET", "/a", {"Host": host(served, bucket)}, "UNSIGNED-PAYLOAD")
    assert served.send("GET", "/a", headers=signed, signed=False).body == bucket.encode()
    moved = {**signed, "Host": host(served, f"x-{bucket}")}
    assert served.send("GET", "/a", headers=moved, signed=False).code == "SignatureDoesNotMatch"


def host(served: Served, bucket: str) -> str:
    return f"{bucket}.s3.localhost:{served.port}"


@pytest.mark.parametrize("name", ["..", "a/b", "Missing", "x", "%2e%2e", "staging"])
def test_a_host_leads_to_nothing_but_buckets(served: Served, name: str) -> None:
    headers = {"Host": host(served, name)}
    assert served.send("GET", "/", headers=headers).code == "NoSuchBucket"
    assert served.send("PUT", "/key", b"x", headers).code == "NoSuchBucket"
    assert served.send("GET", "/../../etc/passwd", headers=headers).code == "NoSuchBucket"


# --- beside the other doors -------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "_sparkowl/health",
        "_sparkowl/drivers/1/notebook",
        "notebooks/0f8fad5b-d9cb-469f-a165-70867728950e/x",
    ],
)
def test_on_a_buckets_host_every_path_is_a_key(tmp_path: Path, key: str) -> None:
    with whole_server(tmp_path) as server:
        port = urlsplit(server.url).port
        s3 = resolving(server.client("s3", url=f"http://s3.localhost:{port}", **STYLE))
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key=key, Body=b"mine")
        assert s3.get_object(Bucket="lake", Key=key)["Body"].read() == b"mine"
        # What is not signed is nobody's, and not a health check either.
        assert unsigned(port, f"/{key}", {"Host": f"lake.s3.localhost:{port}"}) == 403
        # On the endpoint itself, the doors are as they are elsewhere.
        athena = resolving(server.client(url=f"http://s3.localhost:{port}"))
        assert athena.list_work_groups()["WorkGroups"]
        assert unsigned(port, "/_sparkowl/health", {"Host": f"s3.localhost:{port}"}) == 200


def unsigned(port: int | None, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_bucket_that_is_missing_is_said_to_be(s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(Bucket="no-such-lake")
    assert caught.value.response["Error"]["Code"] == "NoSuchBucket"

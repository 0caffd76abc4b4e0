"""A disk that is full: whoever writes is told, and nothing half is there, nor left."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.s3.apart import Apart, apart

MIB: Final = 1 << 20
#: Its first argument is where a file system of 16 MiB is to be; the others become its place.
_SMALL: Final = 'mkdir -p "$1" && mount -t tmpfs -o size=16m none "$1" && shift && exec "$@"'
#: A mount of one's own needs no root, where the kernel allows it.
UNSHARE: Final = ("unshare", "--user", "--map-root-user", "--mount")


def can_mount() -> bool:
    trial = [*UNSHARE, "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(params=["a full disk", "a limit on files"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Apart]:
    if request.param == "a limit on files":
        with apart(tmp_path, largest_file_bytes=14 * MIB) as one:
            yield one
        return
    if not can_mount():
        pytest.skip("this machine lets nobody mount a small disk of his own")
    small = ("sh", "-c", _SMALL, "sh", str(tmp_path / "objects"))
    with apart(tmp_path, under=[*UNSHARE, *small]) as one:
        yield one


def client(server: Apart) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def left(server: Apart) -> list[str]:
    """What is in the bucket and in the staging folder."""
    found = (server.objects / "buckets/lake", server.objects / "staging")
    return sorted(path.name for folder in found for path in folder.iterdir())


def put(server: Apart, key: str, size: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(connection):
        headers = {**server.signed("PUT", f"/lake/{key}"), "Content-Length": str(size)}
        connection.request("PUT", f"/lake/{key}", iter([bytes(MIB)] * (size // MIB)), headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_put_that_does_not_fit_leaves_the_old_object(server: Apart) -> None:
    s3 = client(server)
    s3.put_object(Bucket="lake", Key="a", Body=b"old")

    status, said = put(server, "a", 24 * MIB)

    assert status == 507
    assert b"<Code>InsufficientStorage</Code>" in said
    assert left(server) == ["a"]
    assert s3.get_object(Bucket="lake", Key="a")["Body"].read() == b"old"
    # The disk has room again, and the server goes on.
    assert put(server, "b", 8 * MIB)[0] == 200
    assert s3.head_object(Bucket="lake", Key="b")["ContentLength"] == 8 * MIB


def test_an_upload_that_does_not_fit_together_keeps_its_parts(server: Apart) -> None:
    s3 = client(server)
    upload = s3.create_multipart_upload(Bucket="lake", Key="a")["UploadId"]
    where = {"Bucket": "lake", "Key": "a", "UploadId": upload}
    parts = []
    for number, size in enumerate((6 * MIB, 6 * MIB, 3 * MIB), 1):
        part = s3.upload_part(**where, PartNumber=number, Body=bytes(size))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    before = left(server)

    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})

    assert caught.value.response["Error"]["Code"] == "InsufficientStorage"
    assert left(server) == before
    assert len(s3.list_parts(**where)["Parts"]) == 3
    s3.abort_multipart_upload(**where)
    assert left(server) == []

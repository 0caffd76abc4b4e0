"""The whole of S3 that we have, through real boto3."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.s3.conftest import Served, Start

MIB = 1 << 20


@pytest.fixture
def s3(served: Served) -> Any:
    return served.client()


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def keys(page: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in page.get("Contents", [])]


# --- buckets ----------------------------------------------------------------------------------


def test_a_bucket_from_birth_to_death(s3: Any) -> None:
    s3.create_bucket(Bucket="my-lake")
    s3.create_bucket(Bucket="my-lake")  # as us-east-1 has it
    assert "my-lake" in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    assert [one["Name"] for one in s3.list_buckets(Prefix="my-l")["Buckets"]] == ["my-lake"]
    head = s3.head_bucket(Bucket="my-lake")
    assert head["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="my-lake")["LocationConstraint"] is None
    s3.put_object(Bucket="my-lake", Key="a/b", Body=b"x")
    with pytest.raises(ClientError) as caught:
        s3.delete_bucket(Bucket="my-lake")
    assert refusal(caught) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket="my-lake", Key="a/b")
    s3.delete_bucket(Bucket="my-lake")
    assert "my-lake" not in [one["Name"] for one in s3.list_buckets()["Buckets"]]


def test_another_region_names_itself_and_makes_a_bucket_once(
    serving: Start, tmp_path: Path
) -> None:
    with serving(tmp_path, "eu-central-1") as served:
        s3 = served.client()
        where = {"LocationConstraint": "eu-central-1"}
        s3.create_bucket(Bucket="lake", CreateBucketConfiguration=where)
        assert s3.get_bucket_location(Bucket="lake")["LocationConstraint"] == "eu-central-1"
        with pytest.raises(ClientError) as caught:
            s3.create_bucket(Bucket="lake", CreateBucketConfiguration=where)
        assert refusal(caught) == ("BucketAlreadyOwnedByYou", 409)


def test_a_missing_bucket_is_said_to_be_missing(s3: Any) -> None:
    acts: list[Callable[[], object]] = [
        lambda: s3.list_objects_v2(Bucket="missing"),
        lambda: s3.get_object(Bucket="missing", Key="a"),
        lambda: s3.put_object(Bucket="missing", Key="a", Body=b"x"),
        lambda: s3.create_multipart_upload(Bucket="missing", Key="a"),
        lambda: s3.delete_objects(Bucket="missing", Delete={"Objects": [{"Key": "a"}]}),
        lambda: s3.delete_bucket(Bucket="missing"),
        lambda: s3.get_bucket_location(Bucket="missing"),
    ]
    for act in acts:
        with pytest.raises(ClientError) as caught:
            act()
        assert refusal(caught) == ("NoSuchBucket", 404)
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="missing")
    assert refusal(caught) == ("404", 404)


def test_a_bad_bucket_name_is_refused(served: Served) -> None:
    assert served.send("PUT", "/Not_A_Bucket").code == "InvalidBucketName"
    assert served.send("HEAD", "/$extremelyunlikelytoexist$").status == 404


# --- objects ----------------------------------------------------------------------------------


def test_an_object_and_what_is_known_of_it(s3: Any, served: Served, bucket: str) -> None:
    body = b"hello, owl"
    put = s3.put_object(
        Bucket=bucket,
        Key="a/b c+d/ü.txt",
        Body=body,
        ContentType="text/plain",
        CacheControl="no-cache",
        ContentEncoding="gzip",
        Metadata={"owner": "me", "note": "one   two"},
    )
    assert put["ETag"] == f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    assert put["ChecksumCRC32"] == b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert served.files.path(bucket, "a/b c+d/ü.txt").read_bytes() == body
    got = s3.get_object(Bucket=bucket, Key="a/b c+d/ü.txt")
    assert got["Body"].read() == body
    head = s3.head_object(Bucket=bucket, Key="a/b c+d/ü.txt")
    for one in (got, head):
        assert one["ContentLength"] == len(body)
        assert one["ContentType"] == "text/plain"
        assert one["CacheControl"] == "no-cache"
        assert one["ContentEncoding"] == "gzip"
        assert one["Metadata"] == {"owner": "me", "note": "one   two"}
        assert one["ETag"] == put["ETag"]
        assert one["ResponseMetadata"]["RequestId"]
        assert abs(one["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    shown = s3.get_object(Bucket=bucket, Key="a/b c+d/ü.txt", ResponseContentType="text/x")
    assert shown["ContentType"] == "text/x"


def test_a_file_that_spark_wrote_is_read_and_listed(s3: Any, served: Served, bucket: str) -> None:
    folder = served.files.folder(bucket) / "out"
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(b"PAR1")
    (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["out/_SUCCESS", "out/part-0.parquet"]
    got = s3.get_object(Bucket=bucket, Key="out/part-0.parquet")
    assert got["Body"].read() == b"PAR1"
    assert got["ContentType"] == "binary/octet-stream"
    again = s3.get_object(Bucket=bucket, Key="out/part-0.parquet", IfMatch=got["ETag"])
    assert again["ETag"] == got["ETag"]
    s3.put_object(Bucket=bucket, Key="out/part-0.parquet", Body=b"new")
    assert not (folder / ".part-0.parquet.crc").exists()


def test_a_missing_object_is_said_to_be_missing(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="missing")
    assert refusal(caught) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key="missing")
    assert refusal(caught) == ("404", 404)
    s3.delete_object(Bucket=bucket, Key="missing")


@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-30", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-100", b"56789", "bytes 5-9/10"),
    ],
)
def test_a_range_is_a_part(s3: Any, bucket: str, asked: str, given: bytes, said: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="a", Range=asked)
    assert got["Body"].read() == given
    assert got["ContentRange"] == said
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert not [name for name in got if name.startswith("Checksum")]
    assert s3.head_object(Bucket=bucket, Key="a", Range=asked)["ContentLength"] == len(given)


def test_a_range_beyond_the_end_is_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="a", Range="bytes=10-")
    assert refusal(caught) == ("InvalidRange", 416)


def test_conditions_on_reading(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    s3.get_object(Bucket=bucket, Key="a", IfMatch=etag)
    s3.get_object(Bucket=bucket, Key="a", IfNoneMatch='"other"')
    s3.get_object(Bucket=bucket, Key="a", IfUnmodifiedSince=modified)
    s3.get_object(Bucket=bucket, Key="a", IfModifiedSince=modified - timedelta(seconds=1))
    for condition, status in (
        ({"IfMatch": '"other"'}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"IfModifiedSince": modified}, 304),
        ({"IfUnmodifiedSince": modified - timedelta(seconds=1)}, 412),
    ):
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key="a", **condition)
        assert refusal(caught)[1] == status
        with pytest.raises(ClientError) as caught:
            s3.head_object(Bucket=bucket, Key="a", **condition)
        assert refusal(caught)[1] == status


def test_conditions_on_writing(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
    assert refusal(caught) == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="a", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"4", IfMatch=etag)
    assert refusal(caught) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="b", Body=b"5", IfMatch=etag)
    assert refusal(caught) == ("NoSuchKey", 404)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"3"


def test_a_name_that_a_folder_cannot_hold_is_a_conflict(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    with pytest.raises(ClientError, match="plain files") as caught:
        s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    assert refusal(caught) == ("KeyConflict", 409)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="x" * 300, Body=b"x")
    assert refusal(caught) == ("KeyTooLongError", 400)


def test_too_much_metadata_is_refused(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", Metadata={"a": "x" * 2100})
    assert refusal(caught) == ("MetadataTooLarge", 400)


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_wrong_checksum_is_noticed(s3: Any, served: Served, bucket: str, name: str) -> None:
    sizes = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
    wrong = {f"Checksum{name}": b64encode(bytes(sizes[name])).decode()}
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", **wrong)
    assert refusal(caught) == ("BadDigest", 400)
    assert not served.files.exists(bucket, "a")


def test_a_right_checksum_is_kept_and_given_back(s3: Any, bucket: str) -> None:
    # Both CRCs' check values, of the digits 1 to 9.
    for name, value in (("CRC32C", "e3069283"), ("CRC64NVME", "ae8b14860a799888")):
        right = {f"Checksum{name}": b64encode(bytes.fromhex(value)).decode()}
        s3.put_object(Bucket=bucket, Key="a", Body=b"123456789", **right)
        got = s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
        assert got[f"Checksum{name}"] == right[f"Checksum{name}"]
        got["Body"].read()


# --- multipart --------------------------------------------------------------------------------


def test_a_large_file_goes_up_and_down_in_parts(
    s3: Any, served: Served, bucket: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(20 * MIB + 7))
    s3.upload_file(str(source), bucket, "big", ExtraArgs={"Metadata": {"a": "b"}})
    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"] == {"a": "b"}
    assert served.files.path(bucket, "big").read_bytes() == source.read_bytes()
    s3.download_file(bucket, "big", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert list(served.files.staging.iterdir()) == []


def test_parts_can_be_listed_and_given_up(s3: Any, served: Served, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a/b")["UploadId"]
    where = {"Bucket": bucket, "Key": "a/b", "UploadId": upload}
    etags = [
        s3.upload_part(**where, PartNumber=number, Body=b"x" * number)["ETag"]
        for number in (3, 1, 2)
    ]
    parts = s3.list_parts(**where)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 1), (2, 2), (3, 3)]
    assert parts[2]["ETag"] == etags[0]
    page = s3.list_parts(**where, MaxParts=1, PartNumberMarker=1)
    assert [part["PartNumber"] for part in page["Parts"]] == [2]
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 2)
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in uploads] == [("a/b", upload)]
    s3.abort_multipart_upload(**where)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        s3.upload_part(**where, PartNumber=1, Body=b"x")
    assert refusal(caught) == ("NoSuchUpload", 404)
    assert list(served.files.staging.iterdir()) == []


def test_uploads_are_listed_page_by_page(s3: Any, bucket: str) -> None:
    begun = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        for key in ("b", "a b/ü", "b", "c", "b")
    ]

    def pages(**asked: Any) -> list[list[tuple[str, str]]]:
        found = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, **asked)
        return [[(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])] for page in found]

    assert pages() == [sorted(begun)]
    for size in (1, 2, 3, 4):
        by_page = pages(PaginationConfig={"PageSize": size})
        assert [one for page in by_page for one in page] == sorted(begun)
        assert all(len(page) == size for page in by_page[:-1])
    assert pages(Prefix="a ") == [[begun[1]]]
    after = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="b")
    assert [u["Key"] for u in after["Uploads"]] == ["c"]
    with pytest.raises(ClientError) as caught:
        s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert refusal(caught) == ("NotImplemented", 501)
    for key, upload in begun:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_list_of_deletions_is_held_against_its_checksum(
    s3: Any, served: Served, bucket: str, name: str
) -> None:
    served.files.put_bytes(bucket, "a", b"x")
    body = b"<Delete><Object><Key>a</Key></Object></Delete>"
    header = f"x-amz-checksum-{name.lower()}"
    size = {"CRC64NVME": 8, "SHA1": 20, "SHA256": 32}.get(name, 4)
    for wrong in ({header: b64encode(bytes(size)).decode()}, {"content-md5": 22 * "A" + "=="}):
        reply = served.send("POST", f"/{bucket}?delete", body, wrong)
        assert (reply.status, reply.code) == (400, "BadDigest")
        assert served.files.exists(bucket, "a")
    right = b64encode(hashlib.md5(body).digest()).decode()
    assert served.send("POST", f"/{bucket}?delete", body, {"content-md5": right}).status == 200
    assert not served.files.exists(bucket, "a")


@pytest.mark.parametrize(
    ("mode", "told"), [("ENABLED", True), ("enabled", True), ("DISABLED", False), (None, False)]
)
def test_a_checksum_is_told_to_who_asks_for_it(
    s3: Any, served: Served, bucket: str, mode: str | None, told: bool
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"hello", ChecksumAlgorithm="SHA256")
    asked = {} if mode is None else {"x-amz-checksum-mode": mode}
    for method in ("GET", "HEAD"):
        reply = served.send(method, f"/{bucket}/a", headers=asked)
        assert ("x-amz-checksum-sha256" in reply.headers) is told
    part = served.send("GET", f"/{bucket}/a", headers={**asked, "Range": "bytes=0-1"})
    # Clients would hold that of the whole against the part.
    assert (part.status, "x-amz-checksum-sha256" in part.headers) == (206, False)


def test_a_list_of_parts_must_be_right(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    where = {"Bucket": bucket, "Key": "a", "UploadId": upload}
    one = {"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]}
    two = {"PartNumber": 2, "ETag": s3.upload_part(**where, PartNumber=2, Body=b"y")["ETag"]}
    for parts, code in (
        ([two, one], "InvalidPartOrder"),
        ([one, two], "EntityTooSmall"),
        ([{"PartNumber": 1, "ETag": two["ETag"]}], "InvalidPart"),
        ([{"PartNumber": 9, "ETag": one["ETag"]}], "InvalidPart"),
    ):
        with pytest.raises(ClientError) as caught:
            s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        assert refusal(caught) == (code, 400)
    with pytest.raises(ClientError) as caught:
        s3.upload_part(**where, PartNumber=10_001, Body=b"x")
    assert refusal(caught) == ("InvalidArgument", 400)
    s3.put_object(Bucket=bucket, Key="a", Body=b"there")
    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [one]}, IfNoneMatch="*")
    assert refusal(caught) == ("PreconditionFailed", 412)
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [one]})
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


# --- copies -----------------------------------------------------------------------------------


def test_a_copy_keeps_or_replaces_what_is_known(s3: Any, bucket: str) -> None:
    source = {"Bucket": bucket, "Key": "a b/ü+%2F"}
    etag = s3.put_object(**source, Body=b"x", ContentType="text/x", Metadata={"a": "b"})["ETag"]
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert copied["CopyObjectResult"]["ETag"] == etag
    head = s3.head_object(Bucket=bucket, Key="copy")
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"a": "b"})
    s3.copy_object(
        Bucket=bucket,
        Key="copy",
        CopySource={"Bucket": bucket, "Key": "copy"},
        MetadataDirective="REPLACE",
        Metadata={"c": "d"},
    )
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"c": "d"}
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"x"


def test_a_copy_that_cannot_be_is_refused(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    source = {"Bucket": bucket, "Key": "a"}
    for arguments, expected in (
        ({"Key": "a", "CopySource": source}, ("InvalidRequest", 400)),
        ({"Key": "b", "CopySource": {"Bucket": bucket, "Key": "c"}}, ("NoSuchKey", 404)),
        ({"Key": "b", "CopySource": {"Bucket": "missing", "Key": "c"}}, ("NoSuchBucket", 404)),
        ({"Key": "b", "CopySource": "nothing"}, ("InvalidArgument", 400)),
        (
            {"Key": "b", "CopySource": source, "CopySourceIfNoneMatch": etag},
            ("PreconditionFailed", 412),
        ),
        (
            {"Key": "b", "CopySource": source, "CopySourceIfMatch": '"other"'},
            ("PreconditionFailed", 412),
        ),
        ({"Key": "b", "CopySource": {**source, "VersionId": "7"}}, ("NotImplemented", 501)),
    ):
        with pytest.raises(ClientError) as caught:
            s3.copy_object(Bucket=bucket, **arguments)
        assert refusal(caught) == expected


def test_a_large_copy_goes_in_parts(s3: Any, served: Served, bucket: str) -> None:
    data = os.urandom(11 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB)
    s3.copy({"Bucket": bucket, "Key": "a"}, bucket, "b", Config=config)
    assert served.files.path(bucket, "b").read_bytes() == data
    assert s3.head_object(Bucket=bucket, Key="b")["ETag"].endswith('-3"')


# --- listings ---------------------------------------------------------------------------------

NAMES = ["a", "b/1", "b/2", "b/c/3", "d+e f/ü", "e&<>", "z"]


def fill(served: Served, bucket: str) -> None:
    for name in NAMES:
        served.files.put_bytes(bucket, name, b"x")


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_make_up_the_listing(
    s3: Any, served: Served, bucket: str, operation: str, size: int
) -> None:
    fill(served, bucket)
    pages = s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
    assert [key for page in pages for key in keys(page)] == NAMES


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_pages_with_a_delimiter_make_up_the_level(
    s3: Any, served: Served, bucket: str, operation: str, size: int
) -> None:
    fill(served, bucket)
    pages = list(
        s3.get_paginator(operation).paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        )
    )
    prefixes = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", [])]
    assert prefixes == ["b/", "d+e f/"]
    assert [key for page in pages for key in keys(page)] == ["a", "e&<>", "z"]


def test_a_listing_says_what_was_asked_for(s3: Any, served: Served, bucket: str) -> None:
    fill(served, bucket)
    page = s3.list_objects_v2(
        Bucket=bucket, Prefix="b/", StartAfter="b/1", MaxKeys=1, FetchOwner=True
    )
    assert (page["Prefix"], page["StartAfter"], page["MaxKeys"]) == ("b/", "b/1", 1)
    assert (page["KeyCount"], page["IsTruncated"]) == (1, True)
    (one,) = page["Contents"]
    assert (one["Key"], one["Size"], one["StorageClass"]) == ("b/2", 1, "STANDARD")
    assert one["Owner"]["ID"]
    assert one["ETag"] == s3.head_object(Bucket=bucket, Key="b/2")["ETag"]
    empty = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (empty["KeyCount"], empty["IsTruncated"]) == (0, False)


def test_a_page_that_cannot_be_is_refused(s3: Any, served: Served, bucket: str) -> None:
    for token in ("nonsense", "AAAA", "é"):
        with pytest.raises(ClientError) as caught:
            s3.list_objects_v2(Bucket=bucket, ContinuationToken=token)
        assert refusal(caught) == ("InvalidArgument", 400)
    for query in ("max-keys=x", "max-keys=-1", "encoding-type=other"):
        assert served.send("GET", f"/{bucket}?list-type=2&{query}").code == "InvalidArgument"


def test_a_listing_without_encoding_escapes_its_xml(served: Served, bucket: str) -> None:
    served.files.put_bytes(bucket, "a&<b>", b"x")
    reply = served.send("GET", f"/{bucket}?list-type=2")
    assert b"<Key>a&#38;&#60;b&#62;</Key>" in reply.body


# --- deleting many ----------------------------------------------------------------------------


def test_many_keys_are_deleted_at_once(s3: Any, served: Served, bucket: str) -> None:
    fill(served, bucket)
    targets = [{"Key": key} for key in [*NAMES[:-1], "missing"]]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": targets})
    assert [one["Key"] for one in answer["Deleted"]] == [one["Key"] for one in targets]
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["z"]
    answer = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "z"}, {"Key": "x" * 300}], "Quiet": True}
    )
    assert "Deleted" not in answer
    assert [one["Code"] for one in answer["Errors"]] == ["KeyTooLongError"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_folder_marker_is_an_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"", ContentType="application/x-directory")
    assert s3.head_object(Bucket=bucket, Key="dir/")["ContentType"] == "application/x-directory"
    assert s3.get_object(Bucket=bucket, Key="dir/")["Body"].read() == b""
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["dir/"]
    s3.delete_object(Bucket=bucket, Key="dir/")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


# --- who may, and what is not here ------------------------------------------------------------


def test_another_secret_or_key_is_refused(served: Served) -> None:
    with pytest.raises(ClientError) as caught:
        served.client(secret="another").list_buckets()
    assert refusal(caught) == ("SignatureDoesNotMatch", 403)
    with pytest.raises(ClientError) as caught:
        served.client(key="AKIDOTHER").list_buckets()
    assert refusal(caught) == ("InvalidAccessKeyId", 403)


def test_nobody_is_refused(served: Served) -> None:
    reply = served.send("GET", "/", signed=False)
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert reply.headers["x-amz-request-id"].encode() in reply.body


def test_an_old_request_is_refused(serving: Start, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.clock.advance(16 * 60)
        with pytest.raises(ClientError) as caught:
            served.client().list_buckets()
        assert refusal(caught) == ("RequestTimeTooSkewed", 403)


def test_what_s3_has_and_we_have_not_is_refused_by_name(s3: Any, bucket: str) -> None:
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    acts: list[Callable[[], object]] = [
        lambda: s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        ),
        lambda: s3.get_bucket_acl(Bucket=bucket),
        lambda: s3.get_bucket_policy(Bucket=bucket),
        lambda: s3.put_bucket_tagging(Bucket=bucket, Tagging=tags),
        lambda: s3.put_object_tagging(Bucket=bucket, Key="a", Tagging=tags),
        lambda: s3.list_object_versions(Bucket=bucket),
        lambda: s3.get_object(Bucket=bucket, Key="a", VersionId="7"),
        lambda: s3.get_object(Bucket=bucket, Key="a", PartNumber=1),
        lambda: s3.put_object(Bucket=bucket, Key="a", ACL="public-read"),
        lambda: s3.put_object(Bucket=bucket, Key="a", Tagging="a=b"),
        lambda: s3.put_object(Bucket=bucket, Key="a", SSECustomerAlgorithm="AES256"),
        lambda: s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True),
        lambda: s3.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": "a", "VersionId": "7"}]}
        ),
    ]
    for act in acts:
        with pytest.raises(ClientError, match="is not implemented") as caught:
            act()
        assert refusal(caught) == ("NotImplemented", 501)


def test_a_bucket_says_that_it_has_no_versions(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        s3.get_bucket_versioning(Bucket="missing-lake")
    assert refusal(caught) == ("NoSuchBucket", 404)


def test_a_failure_of_ours_is_a_500_and_logged_once(
    serving: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as served:
        served.files.root.rmdir()
        with pytest.raises(ClientError) as caught:
            served.client().list_buckets()
        assert refusal(caught) == ("InternalError", 500)
    assert [record.message for record in caplog.records if record.exc_info] == ["an S3 call failed"]


def test_a_body_of_unknown_size_is_taken(s3: Any, served: Served, bucket: str) -> None:
    reply = served.send(
        "PUT", f"/{bucket}/a", iter([b"one", b"two"]), {"Transfer-Encoding": "chunked"}
    )
    assert reply.status == 200
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"onetwo"


def test_a_stream_can_be_uploaded(s3: Any, bucket: str) -> None:
    s3.upload_fileobj(io.BytesIO(b"x" * 100), bucket, "a")
    target = io.BytesIO()
    s3.download_fileobj(bucket, "a", target)
    assert target.getvalue() == b"x" * 100

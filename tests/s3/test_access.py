"""A second principal at the S3 door."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.keys import Statement, allow, deny, make_key, registered

from sparkowl.domain.access_key import Event
from sparkowl.domain.policy import NOBODY
from sparkowl.protocol.sigv4 import Signature
from sparkowl.s3 import access, routes
from sparkowl.s3.calls import Call

if TYPE_CHECKING:
    from tests.s3.conftest import Served, Start

_numbers = itertools.count()
ROUTES = [*routes.SERVICE.values(), *routes.BUCKET.values(), *routes.OBJECT.values()]


def arn(*parts: str) -> str:
    return "arn:aws:s3:::" + "/".join(parts)


def principal(served: Served, *statements: Statement, **config: Any) -> Any:
    return served.principal(f"p{next(_numbers)}", *statements, **config)


def code_of(act: Callable[[], Any]) -> str:
    """S3's code of an error; ``ok`` without one. HEAD answers have the status only."""
    try:
        act()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


# --- the table ---------------------------------------------------------------------------------


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert set(ROUTES) == set(access.RULES)


def test_every_action_that_is_asked_for_is_listed() -> None:
    headers = {"x-amz-copy-source": "other/key", "if-match": "x"}
    call = Call(
        method="PUT",
        bucket="lake",
        key="a",
        arguments={},
        headers=headers,
        signature=Signature("", "", "", None, "", b"", ""),  # type: ignore[arg-type]
        caller=NOBODY,
        receive=None,  # type: ignore[arg-type]
    )
    asked = {action for rule in access.RULES.values() for action, _ in rule(call)}

    assert asked | {"s3:DeleteObject"} == access.ACTIONS


# --- every operation ---------------------------------------------------------------------------


def requests(
    s3: Any, bucket: str, upload: str
) -> Iterator[tuple[str, Callable[[], Any], set[str]]]:
    """Name, call, and the permissions it needs, as action and ARN."""
    one = {"Bucket": bucket, "Key": "dir/a b"}
    part = one | {"UploadId": upload}
    source = {"Bucket": bucket, "Key": "source"}
    thing, there = arn(bucket, "dir/a b"), arn(bucket)

    def on(action: str, resource: str) -> str:
        return f"s3:{action} {resource}"

    yield "ListBuckets", s3.list_buckets, {on("ListAllMyBuckets", "*")}
    yield (
        "CreateBucket",
        lambda: s3.create_bucket(Bucket=bucket),
        {on("CreateBucket", there)},
    )
    yield "HeadBucket", lambda: s3.head_bucket(Bucket=bucket), {on("ListBucket", there)}
    yield (
        "GetBucketLocation",
        lambda: s3.get_bucket_location(Bucket=bucket),
        {on("GetBucketLocation", there)},
    )
    yield (
        "GetBucketVersioning",
        lambda: s3.get_bucket_versioning(Bucket=bucket),
        {on("GetBucketVersioning", there)},
    )
    yield "ListObjects", lambda: s3.list_objects(Bucket=bucket), {on("ListBucket", there)}
    yield "ListObjectsV2", lambda: s3.list_objects_v2(Bucket=bucket), {on("ListBucket", there)}
    yield (
        "ListMultipartUploads",
        lambda: s3.list_multipart_uploads(Bucket=bucket),
        {on("ListBucketMultipartUploads", there)},
    )
    yield "PutObject", lambda: s3.put_object(**one, Body=b"new"), {on("PutObject", thing)}
    yield "GetObject", lambda: s3.get_object(**one)["Body"].read(), {on("GetObject", thing)}
    yield "HeadObject", lambda: s3.head_object(**one), {on("GetObject", thing)}
    yield (
        "CopyObject",
        lambda: s3.copy_object(**one, CopySource=source),
        {on("PutObject", thing), on("GetObject", arn(bucket, "source"))},
    )
    yield (
        "CreateMultipartUpload",
        lambda: s3.create_multipart_upload(Bucket=bucket, Key="dir/a b"),
        {on("PutObject", thing)},
    )
    yield (
        "UploadPart",
        lambda: s3.upload_part(**part, PartNumber=1, Body=b"part"),
        {on("PutObject", thing)},
    )
    yield (
        "UploadPartCopy",
        lambda: s3.upload_part_copy(**part, PartNumber=2, CopySource=source),
        {on("PutObject", thing), on("GetObject", arn(bucket, "source"))},
    )
    yield "ListParts", lambda: s3.list_parts(**part), {on("ListMultipartUploadParts", thing)}
    yield (
        "CompleteMultipartUpload",
        lambda: s3.complete_multipart_upload(
            **part, MultipartUpload={"Parts": [{"PartNumber": 9, "ETag": "none"}]}
        ),
        {on("PutObject", thing)},
    )
    yield (
        "AbortMultipartUpload",
        lambda: s3.abort_multipart_upload(**part),
        {on("AbortMultipartUpload", thing)},
    )
    yield "DeleteObject", lambda: s3.delete_object(**one), {on("DeleteObject", thing)}
    yield "DeleteBucket", lambda: s3.delete_bucket(Bucket=bucket), {on("DeleteBucket", there)}


NAMES = [name for name, _, _ in requests(type("S3", (), {"list_buckets": None}), "b", "u")]


@pytest.fixture
def upload(served: Served, bucket: str) -> str:
    served.files.put_bytes(bucket, "dir/a b", b"old")
    served.files.put_bytes(bucket, "source", b"source")
    made = served.client().create_multipart_upload(Bucket=bucket, Key="dir/a b")
    return str(made["UploadId"])


def called(s3: Any, name: str, bucket: str, upload: str) -> tuple[str, set[str]]:
    act, needed = next((a, n) for other, a, n in requests(s3, bucket, upload) if other == name)
    return code_of(act), needed


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_needs_its_permissions_and_no_other(
    served: Served, bucket: str, upload: str, name: str
) -> None:
    needed = next(n for other, _, n in requests(served.client(), bucket, upload) if other == name)
    grants = [allow(*one.split(" ", 1)) for one in sorted(needed)]
    denied = {"403", "AccessDenied"}

    assert called(principal(served, *grants), name, bucket, upload)[0] not in denied
    for missing in grants:
        rest = [grant for grant in grants if grant is not missing]
        fewer = principal(served, allow("s3:*", arn("elsewhere", "*")), *rest)
        assert called(fewer, name, bucket, upload)[0] in denied
        refusing = principal(served, allow("*"), deny(missing["Action"], missing["Resource"]))
        assert called(refusing, name, bucket, upload)[0] in denied


def test_the_answer_is_s3s(served: Served, bucket: str) -> None:
    with pytest.raises(ClientError) as refused:
        principal(served, allow("s3:ListBucket")).get_object(Bucket=bucket, Key="a")

    response = refused.value.response
    assert response["Error"]["Code"] == "AccessDenied"
    assert response["Error"]["Message"] == "Access Denied"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_refused_write_leaves_nothing_behind(served: Served, bucket: str, upload: str) -> None:
    s3 = principal(served, allow("s3:GetObject"))
    for name in ("PutObject", "CopyObject", "DeleteObject", "DeleteBucket"):
        assert called(s3, name, bucket, upload)[0] == "AccessDenied"

    assert served.files.read_bytes(bucket, "dir/a b") == b"old"


# --- what is not told --------------------------------------------------------------------------


def test_a_missing_object_looks_forbidden_to_who_may_not_list(served: Served, bucket: str) -> None:
    blind = principal(served, allow("s3:GetObject"))
    seeing = principal(served, allow(["s3:GetObject", "s3:ListBucket"]))
    missing = {"Bucket": bucket, "Key": "missing"}

    assert code_of(lambda: blind.get_object(**missing)) == "AccessDenied"
    assert code_of(lambda: blind.head_object(**missing)) == "403"
    assert code_of(lambda: seeing.get_object(**missing)) == "NoSuchKey"
    assert code_of(lambda: seeing.head_object(**missing)) == "404"


def test_so_does_a_missing_source_of_a_copy(served: Served, bucket: str) -> None:
    rights = ["s3:GetObject", "s3:PutObject"]
    copy = {"Bucket": bucket, "Key": "a", "CopySource": {"Bucket": bucket, "Key": "missing"}}
    blind = principal(served, allow(rights))
    seeing = principal(served, allow([*rights, "s3:ListBucket"]))

    assert code_of(lambda: blind.copy_object(**copy)) == "AccessDenied"
    assert code_of(lambda: seeing.copy_object(**copy)) == "NoSuchKey"


def test_a_bucket_of_others_looks_the_same_whether_it_is_there_or_not(
    served: Served, bucket: str
) -> None:
    s3 = principal(served, allow("s3:*", arn("mine")))

    for name in (bucket, "no-such-bucket"):
        assert code_of(lambda name=name: s3.list_objects_v2(Bucket=name)) == "AccessDenied"  # type: ignore[misc]


def test_an_etag_cannot_be_guessed_by_who_may_only_write(served: Served, bucket: str) -> None:
    etag = served.client().put_object(Bucket=bucket, Key="a", Body=b"secret")["ETag"]
    writer = principal(served, allow(["s3:PutObject", "s3:DeleteObject"]))
    reader = principal(served, allow(["s3:PutObject", "s3:GetObject"]))

    for value in (etag, '"wrong"'):
        put = {"Bucket": bucket, "Key": "a", "Body": b"x", "IfMatch": value}
        assert code_of(lambda put=put: writer.put_object(**put)) == "AccessDenied"  # type: ignore[misc]
    assert code_of(lambda: reader.put_object(**put)) == "PreconditionFailed"


# --- several keys at once ----------------------------------------------------------------------


def test_of_many_deletions_each_is_asked_for_by_itself(served: Served, bucket: str) -> None:
    for key in ("mine/a", "mine/b", "theirs/a"):
        served.files.put_bytes(bucket, key, b"x")
    s3 = principal(served, allow("s3:DeleteObject", arn(bucket, "mine/*")))
    keys = [{"Key": key} for key in ("mine/a", "theirs/a", "mine/b", "theirs/missing")]

    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})

    assert [one["Key"] for one in answer["Deleted"]] == ["mine/a", "mine/b"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [
        ("theirs/a", "AccessDenied"),
        ("theirs/missing", "AccessDenied"),
    ]
    assert served.files.read_bytes(bucket, "theirs/a") == b"x"


def test_the_upload_of_another_cannot_be_used_under_a_key_of_ones_own(
    served: Served, bucket: str, upload: str
) -> None:
    s3 = principal(served, allow("s3:*", [arn(bucket), arn(bucket, "mine/*")]))
    mine = {"Bucket": bucket, "Key": "mine/a", "UploadId": upload}
    parts = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}

    assert code_of(lambda: s3.list_parts(**mine)) == "NoSuchUpload"
    assert code_of(lambda: s3.upload_part(**mine, PartNumber=1, Body=b"x")) == "NoSuchUpload"
    assert code_of(lambda: s3.abort_multipart_upload(**mine)) == "NoSuchUpload"
    assert (
        code_of(lambda: s3.complete_multipart_upload(**mine, MultipartUpload=parts))
        == "NoSuchUpload"
    )
    theirs = mine | {"Key": "dir/a b"}
    assert code_of(lambda: s3.list_parts(**theirs)) == "AccessDenied"


# --- paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "theirs/a",
        "theirs%2Fa",
        "mine/../theirs/a",
        "mine/%2e%2e/theirs/a",
        "mine/./../theirs/a",
        "/theirs/a",
        "%74heirs/a",
        "mine/..%2ftheirs/a",
        "mine//..//theirs/a",
    ],
)
def test_no_spelling_of_a_path_reaches_what_is_not_allowed(
    served: Served, bucket: str, path: str
) -> None:
    """A key is its text, dots and all; whatever is allowed is only that very object."""
    served.files.put_bytes(bucket, "theirs/a", b"secret")
    key = make_key(
        served.folder,
        f"p{next(_numbers)}",
        allow("s3:*", [arn(bucket), arn(bucket, "mine/*")]),
    )
    first = served.key, served.secret
    served.key, served.secret = key.id, key.secret
    try:
        reply = served.send("GET", f"/{bucket}/{path}")
    finally:
        served.key, served.secret = first

    assert reply.status in {403, 404}
    assert b"secret" not in reply.body


# --- presigned URLs ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_may_what_its_signer_may(served: Served, bucket: str, version: str) -> None:
    served.files.put_bytes(bucket, "mine/a", b"x")
    served.files.put_bytes(bucket, "theirs/a", b"x")
    s3 = principal(served, allow("s3:GetObject", arn(bucket, "mine/*")), signature_version=version)

    def status(operation: str, key: str, method: str = "GET") -> int:
        url = s3.generate_presigned_url(operation, {"Bucket": bucket, "Key": key})
        parts = urlsplit(url)
        body = b"new" if method == "PUT" else None
        return served.send(method, f"{parts.path}?{parts.query}", body, signed=False).status

    assert status("get_object", "mine/a") == 200
    assert status("get_object", "theirs/a") == 403
    assert status("put_object", "mine/a", "PUT") == 403
    assert served.files.read_bytes(bucket, "mine/a") == b"x"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_ends_with_its_key(serving: Start, tmp_path: Path, version: str) -> None:
    with serving(tmp_path) as served:
        served.files.create_bucket("lake")
        served.files.put_bytes("lake", "a", b"x")
        s3 = served.principal("alice", allow("s3:GetObject"), signature_version=version)
        key_id = s3._request_signer._credentials.access_key
        parts = urlsplit(s3.generate_presigned_url("get_object", {"Bucket": "lake", "Key": "a"}))
        path = f"{parts.path}?{parts.query}"
        assert served.send("GET", path, signed=False).status == 200

        registered(tmp_path, lambda register: register.change(key_id, Event.DISABLE))
        served.clock.advance(1)

        reply = served.send("GET", path, signed=False)
        assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")


# --- audit -------------------------------------------------------------------------------------


def test_the_audit_log_names_operations_and_resources(serving: Start, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        s3 = served.client()
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="a b", Body=b"x")
        s3.head_object(Bucket="lake", Key="a b")
        s3.copy_object(Bucket="lake", Key="c", CopySource={"Bucket": "lake", "Key": "a b"})
        s3.list_objects_v2(Bucket="lake", Prefix="p/")
        served.send("PUT", "/lake/x?acl", b"")
        calls = served.audited()

    said = [(c.get("operation"), c["resource"], c.get("error")) for c in calls]
    assert said == [
        ("CreateBucket", arn("lake"), None),
        ("PutObject", arn("lake", "a b"), None),
        ("HeadObject", arn("lake", "a b"), None),
        ("CopyObject", arn("lake", "c"), None),
        ("ListObjectsV2", arn("lake"), None),
        (None, arn("lake", "x"), "NotImplemented"),
    ]
    assert calls[3]["parameters"] == {"copySource": "lake/a%20b"}
    assert calls[4]["parameters"]["prefix"] == "p/"
    assert all(call["principal"] == "root" for call in calls)
    assert re.fullmatch("[0-9A-F]{16}", calls[0]["request_id"])
    assert json.dumps(calls).count("Signature") == 0

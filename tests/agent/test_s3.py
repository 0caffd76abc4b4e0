"""Putting objects with a session's keys, into a real service."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import timedelta

import boto3
import pytest
from tests.refusing import refusing
from tests.seaweed import READER, REGION, SESSION, SeaweedFS

from sparkowl.agent.s3 import Service
from sparkowl.agent.uploads import Refused, ServiceAway
from sparkowl.domain.service import Keys


def profile(keys: Keys) -> dict[str, str]:
    return {
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
    }


def service(url: str, keys: Mapping[str, str]) -> Service:
    aws = {"region": REGION, "endpoint_url_s3": url, "addressing_style": "path"}
    return Service(aws, lambda: keys)


@pytest.fixture
def bucket(seaweed: SeaweedFS) -> str:
    name = f"results-{uuid.uuid4().hex[:12]}"
    seaweed.client().create_bucket(Bucket=name)
    return name


async def test_an_object_is_put_where_it_belongs(seaweed: SeaweedFS, bucket: str) -> None:
    putting = service(seaweed.url, profile(SESSION))

    await putting.put(f"s3://{bucket}/a b/ü%/stdout", b"said", {})
    await putting.put(f"s3://{bucket}/secret", b"said", {"option": "SSE_S3"})

    client = seaweed.client()
    plain = client.get_object(Bucket=bucket, Key="a b/ü%/stdout")
    assert plain["Body"].read() == b"said"
    assert "ServerSideEncryption" not in plain
    assert client.head_object(Bucket=bucket, Key="secret")["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (READER, "AccessDenied"),
        (Keys(SESSION.access_key_id, "wrong"), "SignatureDoesNotMatch"),
        (Keys("AKIANOBODYNOBODY", "x"), "InvalidAccessKeyId"),
    ],
)
async def test_a_refusal_names_its_code_and_no_key(
    seaweed: SeaweedFS, bucket: str, keys: Keys, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await service(seaweed.url, profile(keys)).put(f"s3://{bucket}/key", b"1", {})

    assert str(refused.value) == f"the S3 service refuses it ({code})"
    assert refused.value.__suppress_context__


async def test_a_session_without_keys_puts_nothing(seaweed: SeaweedFS, bucket: str) -> None:
    with pytest.raises(Refused, match="the session has no keys"):
        await service(seaweed.url, {}).put(f"s3://{bucket}/key", b"1", {})


@pytest.mark.parametrize("key", ["a//b", "/a"])
async def test_a_key_that_cannot_be_sent_is_refused(
    seaweed: SeaweedFS, bucket: str, key: str
) -> None:
    with pytest.raises(Refused, match=f"no object can have the key '{key}'"):
        await service(seaweed.url, profile(SESSION)).put(f"s3://{bucket}/{key}", b"1", {})


async def test_a_service_that_is_not_there_is_away() -> None:
    with pytest.raises(ServiceAway, match="does not answer"):
        await service("http://127.0.0.1:1", profile(SESSION)).put("s3://bucket/key", b"1", {})


async def test_a_bucket_of_another_region_is_not_waited_for() -> None:
    with refusing(301, "PermanentRedirect") as url, pytest.raises(Refused, match="another region"):
        await service(url, profile(SESSION)).put("s3://elsewhere/key", b"1", {})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (411, "MissingContentLength", Refused),
        (501, "NotImplemented", Refused),
        (400, "ExpiredToken", ServiceAway),
        (400, "KMS.ThrottlingException", ServiceAway),
        (429, "TooManyRequests", ServiceAway),
        (500, "InternalError", ServiceAway),
    ],
)
async def test_only_what_may_pass_is_waited_for(
    status: int, code: str, kind: type[Exception]
) -> None:
    with refusing(status, code) as url, pytest.raises(kind, match=code):
        await service(url, profile(SESSION)).put("s3://bucket/key", b"1", {})


def test_obstore_is_not_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; import sparkowl.agent.agent; "
        "sys.exit(any(name.partition('.')[0] in ('obstore', 'boto3') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


async def test_a_bucket_that_is_not_there_is_no_outage(moto: str) -> None:
    with pytest.raises(Refused, match=r"refuses it \(NoSuchBucket\)"):
        await service(moto, profile(SESSION)).put("s3://nowhere/key", b"1", {})


async def test_a_key_of_a_key_service_goes_along(moto: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=moto, region_name=REGION, aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip
    client.create_bucket(Bucket="lake")

    await service(moto, profile(SESSION)).put(
        "s3://lake/key", b"1", {"option": "SSE_KMS", "kms_key": "alias/results"}
    )

    head = client.head_object(Bucket="lake", Key="key")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/results")


async def test_keys_that_are_replaced_are_used(seaweed: SeaweedFS, bucket: str) -> None:
    """A repeated adoption brings others; what was asked for a minute ago is good enough."""
    keys = profile(SESSION)
    putting = Service(
        {"region": REGION, "endpoint_url_s3": seaweed.url}, lambda: keys, keys_good_for=timedelta(0)
    )
    await putting.put(f"s3://{bucket}/one", b"1", {})

    keys = profile(READER)

    with pytest.raises(Refused, match="AccessDenied"):
        await putting.put(f"s3://{bucket}/two", b"2", {})

"""What storage promises to the server, in folders and in an S3 service."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.refusing import refusing
from tests.seaweed import READER, REGION, SERVER, SESSION, SeaweedFS

from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location
from sparkowl.domain.service import Keys, Service
from sparkowl.objects import s3_clients
from sparkowl.objects.errors import (
    InvalidKey,
    NoSuchBucket,
    NoSuchKey,
    ObjectError,
    StorageRefused,
    StorageUnreachable,
)
from sparkowl.objects.files import Files
from sparkowl.objects.folder_storage import FolderStorage
from sparkowl.objects.s3_clients import refusal
from sparkowl.objects.s3_storage import S3Storage
from sparkowl.objects.storage import Storage

KEYS = ["stdout", "a/b/c.ipynb", "with space/ü %20+&=?#'\"*", "x" * 200]


@pytest.fixture
def service(seaweed: SeaweedFS) -> Service:
    return Service(region=REGION, endpoint=seaweed.url, keys=SERVER)


@pytest.fixture(params=["folders", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folders":
        return FolderStorage(Files(tmp_path / "buckets", tmp_path / "staging"))
    return S3Storage(request.getfixturevalue("service"))


def new_bucket() -> str:
    return f"results-{uuid.uuid4().hex[:12]}"


async def made(storage: Storage) -> str:
    bucket = new_bucket()
    await storage.ensure_bucket(bucket)
    return bucket


@pytest.mark.parametrize("key", KEYS)
async def test_what_is_put_can_be_read(storage: Storage, key: str) -> None:
    place = Location(await made(storage), key)

    await storage.put(place, b"hello")

    assert await storage.read(place, 100) == b"hello"
    assert await storage.size(place) == 5
    assert await storage.exists(place)


async def test_no_more_is_read_than_is_asked_for(storage: Storage) -> None:
    place = Location(await made(storage), "long")
    await storage.put(place, bytes(range(256)) * 40_000)

    assert await storage.read(place, 3) == b"\0\1\2"
    assert len(await storage.read(place, 9_000_000)) == 9_000_000
    assert len(await storage.read(place, 99_000_000)) == 10_240_000


async def test_an_empty_object_is_one(storage: Storage) -> None:
    place = Location(await made(storage), "stderr")

    await storage.put(place, b"")

    assert await storage.exists(place)
    assert await storage.size(place) == 0
    assert await storage.read(place, 10) == b""


async def test_a_later_object_takes_the_place_of_the_earlier(storage: Storage) -> None:
    place = Location(await made(storage), "stdout")

    await storage.put(place, b"first, and longer")
    await storage.put(place, b"second")

    assert await storage.read(place, 100) == b"second"


async def test_an_object_that_is_not_there(storage: Storage) -> None:
    place = Location(await made(storage), "gone")

    assert not await storage.exists(place)
    with pytest.raises(NoSuchKey):
        await storage.read(place, 10)
    with pytest.raises(NoSuchKey):
        await storage.size(place)


async def test_a_bucket_that_is_not_there(storage: Storage) -> None:
    place = Location(new_bucket(), "key")

    assert not await storage.exists(place)
    with pytest.raises(NoSuchBucket):
        await storage.read(place, 10)


async def test_a_bucket_that_is_there_is_left_as_it_is(storage: Storage) -> None:
    place = Location(await made(storage), "key")
    await storage.put(place, b"1")

    await storage.ensure_bucket(place.bucket)

    assert await storage.read(place, 10) == b"1"


# --- a service ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path_style", [True, False])
async def test_no_bucket_leads_to_another_place(path_style: bool) -> None:
    """Anybody may name one, in a notebook's URI, and the server signs what it asks for."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, refusing(500, "Asked") as url:
        other = f"127.0.0.1:{elsewhere.getsockname()[1]}"
        storage = S3Storage(
            Service(region=REGION, endpoint=url, keys=SERVER, path_style=path_style)
        )
        for bucket in (f"{other}#", f"{other}?", f"u@{other}", "..", "lake%2Fkey?", "a b", ""):
            with pytest.raises(NoSuchBucket):
                await storage.read(Location(bucket, "key"), 1)
            with pytest.raises(NoSuchBucket):
                await storage.put(Location(bucket, "key"), b"1")
            assert not await storage.exists(Location(bucket, "key"))
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


async def test_what_is_to_be_encrypted_is_encrypted_by_the_service(
    service: Service, seaweed: SeaweedFS
) -> None:
    storage = S3Storage(service)
    bucket = await made(storage)

    await storage.put(Location(bucket, "plain"), b"1")
    await storage.put(Location(bucket, "secret"), b"1", Encryption("SSE_S3"))

    def encryption(key: str) -> object:
        return seaweed.client().head_object(Bucket=bucket, Key=key).get("ServerSideEncryption")

    assert encryption("plain") is None
    assert encryption("secret") == "AES256"
    assert await storage.read(Location(bucket, "secret"), 10) == b"1"


@pytest.mark.parametrize("key", ["a//b", "a/../b", "/a", "a/"])
async def test_a_key_that_cannot_be_sent_is_refused(service: Service, key: str) -> None:
    storage = S3Storage(service)
    place = Location(await made(storage), key)

    with pytest.raises(InvalidKey):
        await storage.put(place, b"1")


async def test_no_key_is_taken_for_another(service: Service) -> None:
    """Who may read ``/secret/a`` need not be who may read ``secret/a``."""
    storage = S3Storage(service)
    place = Location(await made(storage), "secret/a")
    await storage.put(place, b"1")

    for key in ("/secret/a", "secret/a/"):
        with pytest.raises(InvalidKey):
            await storage.read(replace(place, key=key), 10)
        with pytest.raises(InvalidKey):
            await storage.size(replace(place, key=key))


@pytest.mark.parametrize(
    "keys",
    [
        Keys(SERVER.access_key_id, "not-the-secret-of-it"),
        Keys("AKIANOBODYNOBODY", "secret"),
        READER,
    ],
    ids=["wrong secret", "unknown key", "may read only"],
)
async def test_a_refusal_is_told_in_words_and_without_a_key(service: Service, keys: Keys) -> None:
    bucket = await made(S3Storage(service))
    storage = S3Storage(replace(service, keys=keys))

    with pytest.raises(StorageRefused) as put:
        await storage.put(Location(bucket, "key"), b"1")
    with pytest.raises(StorageRefused) as made_bucket:
        await storage.ensure_bucket(new_bucket())

    for refused in (put, made_bucket):
        text = "".join(map(str, (refused.value, refused.value.__cause__)))
        assert f"s3://{bucket}" in text or "s3://results-" in text
        assert keys.access_key_id not in text
        assert keys.secret_access_key not in text
    assert "refuses it" in str(put.value)


async def test_a_key_of_a_key_service_goes_along(moto: str) -> None:
    service = Service(region=REGION, endpoint=moto, keys=SERVER)
    storage = S3Storage(service)
    bucket = await made(storage)

    await storage.put(Location(bucket, "key"), b"1", Encryption("SSE_KMS", "alias/results"))

    head = s3_clients.client(service).head_object(Bucket=bucket, Key="key")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/results")


async def test_a_put_into_a_bucket_that_is_not_there_is_no_outage(moto: str) -> None:
    storage = S3Storage(Service(region=REGION, endpoint=moto, keys=SERVER))

    with pytest.raises(NoSuchBucket):
        await storage.put(Location("nowhere", "key"), b"1")


async def test_a_bucket_is_made_in_the_region_of_the_service(moto: str) -> None:
    service = Service(region="eu-west-1", endpoint=moto, keys=SERVER)

    bucket = await made(S3Storage(service))

    found = s3_clients.client(service).get_bucket_location(Bucket=bucket)
    assert found["LocationConstraint"] == "eu-west-1"


async def test_a_service_that_is_not_there_is_said_to_be_unreachable() -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        storage = S3Storage(Service(region=REGION, endpoint=url, keys=SESSION))
        place = Location("results", "key")
        tries: list[Callable[[], object]] = [
            lambda: storage.put(place, b"1"),
            lambda: storage.read(place, 1),
            lambda: storage.exists(place),
            lambda: storage.ensure_bucket("results"),
        ]

        for attempt in tries:
            with pytest.raises(StorageUnreachable, match="does not answer"):
                await attempt()  # type: ignore[misc]


async def test_a_bucket_of_another_region_is_no_outage() -> None:
    """Else all outputs of all sessions would wait for it."""
    with refusing(301, "PermanentRedirect") as url:
        storage = S3Storage(Service(region=REGION, endpoint=url, keys=SERVER))

        with pytest.raises(StorageRefused, match="another region"):
            await storage.put(Location("elsewhere", "key"), b"1")


def test_what_the_service_answers_has_a_meaning() -> None:
    def kind(status: int | None, code: str = "", *, path: bool = False) -> type[ObjectError]:
        return type(refusal("s3://b/k", status=status, code=code, message="", is_path=path))

    assert kind(None) is StorageUnreachable
    assert kind(500, "InternalError") is StorageUnreachable
    assert kind(503, "SlowDown") is StorageUnreachable
    assert kind(429, "TooManyRequests") is StorageUnreachable
    assert kind(403, "RequestTimeTooSkewed") is StorageUnreachable
    assert kind(400, "KMS.ThrottlingException") is StorageUnreachable
    assert kind(301, "PermanentRedirect") is StorageRefused
    assert kind(411, "MissingContentLength") is StorageRefused
    assert kind(501, "NotImplemented") is StorageRefused
    assert kind(403, "AccessDenied") is StorageRefused
    assert kind(400, "InvalidArgument") is StorageRefused
    assert kind(404, "NoSuchBucket") is NoSuchBucket
    assert kind(404) is NoSuchKey
    assert kind(None, path=True) is InvalidKey


def test_a_key_id_that_the_service_repeats_is_not_told() -> None:
    error = refusal(
        "s3://b/k", status=403, code="InvalidAccessKeyId", message="No AKIAIOSFODNN7EXAMPLE here."
    )

    assert str(error) == (
        "s3://b/k: the S3 service refuses it (InvalidAccessKeyId: No (key) here.)."
    )


def test_the_service_without_an_endpoint_is_aws() -> None:
    assert Service(region="eu-west-1").url == "https://s3.eu-west-1.amazonaws.com"
    assert "secret-of" not in repr(SERVER)

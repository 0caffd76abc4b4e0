"""A server whose objects are in an S3 service."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError
from tests.app.test_start import fails_to_start
from tests.seaweed import READER, SERVER, SESSION, SeaweedFS
from tests.serving import serving, until

from sparkowl.config import Settings
from sparkowl.domain.service import Keys
from sparkowl.relay import endpoint

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def objects(seaweed: SeaweedFS, keys: Keys = SERVER, **more: Any) -> dict[str, Any]:
    return {
        "kind": "s3",
        "endpoint": seaweed.url,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "session_access_key_id": SESSION.access_key_id,
        "session_secret_access_key": SESSION.secret_access_key,
        **more,
    }


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """The environment of a server that runs in this process."""
    was = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in was.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def new_location() -> str:
    return f"s3://results-{uuid.uuid4().hex[:12]}/out"


def started(athena: Any, work_group: str = "spark") -> str:
    session_id: str = athena.start_session(
        WorkGroup=work_group, EngineConfiguration={"MaxConcurrentDpus": 4}
    )["SessionId"]
    until(lambda: athena.get_session(SessionId=session_id)["Status"]["State"] == "IDLE")
    return session_id


def ran(athena: Any, session_id: str, code: str) -> dict[str, Any]:
    calculation_id = athena.start_calculation_execution(SessionId=session_id, CodeBlock=code)[
        "CalculationExecutionId"
    ]

    def find() -> dict[str, Any]:
        found: dict[str, Any] = athena.get_calculation_execution(
            CalculationExecutionId=calculation_id
        )
        return found

    until(lambda: find()["Status"]["State"] in {"COMPLETED", "FAILED"})
    return find()


def arrived(seaweed: SeaweedFS, uri: str) -> Any:
    """The head of an object that may be on its way still: nobody waits for a start's timeline."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = seaweed.client()
    often = {"Delay": 1, "MaxAttempts": 30}
    client.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig=often)
    return client.head_object(Bucket=bucket, Key=key)


def read(seaweed: SeaweedFS, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = seaweed.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_outputs_and_timeline_are_in_the_service(seaweed: SeaweedFS, tmp_path: Path) -> None:
    location = new_location()
    with serving(tmp_path, objects=objects(seaweed), output_location=location) as server:
        athena = server.client()
        session_id = started(athena)

        found = ran(athena, session_id, "hello")

        assert found["Status"]["State"] == "COMPLETED"
        assert read(seaweed, found["Result"]["StdOutS3Uri"]) == b"hello"
        arrived(seaweed, f"{location}/{session_id}/start.json")
        timeline = json.loads(read(seaweed, f"{location}/{session_id}/start.json"))
        assert "ready" in timeline
    assert not (tmp_path / "buckets").exists()


def test_a_notebook_is_imported_from_the_service(seaweed: SeaweedFS, tmp_path: Path) -> None:
    location = new_location()
    with serving(tmp_path, objects=objects(seaweed), output_location=location) as server:
        bucket = location.removeprefix("s3://").partition("/")[0]
        seaweed.client().put_object(Bucket=bucket, Key="a b.ipynb", Body=NOTEBOOK)
        asked = {"WorkGroup": "spark", "Type": "IPYNB"}

        made = server.client().import_notebook(
            Name="one", NotebookS3LocationUri=f"s3://{bucket}/a b.ipynb", **asked
        )

        assert made["NotebookId"]
        with pytest.raises(ClientError, match="The specified key does not exist"):
            server.client().import_notebook(
                Name="two", NotebookS3LocationUri=f"s3://{bucket}/gone.ipynb", **asked
            )


def test_outputs_are_encrypted_as_the_workgroup_says(seaweed: SeaweedFS, tmp_path: Path) -> None:
    with serving(tmp_path, objects=objects(seaweed), output_location=new_location()) as server:
        athena = server.client()
        encrypted(athena, "SSE_S3")
        session_id = started(athena, "encrypted")

        found = ran(athena, session_id, "hello")

        asked = athena.get_session(SessionId=session_id)["SessionConfiguration"]
        assert asked["EncryptionConfiguration"] == {"EncryptionOption": "SSE_S3"}
        for uri in (
            found["Result"]["StdOutS3Uri"],
            f"{asked['WorkingDirectory']}/start.json",
        ):
            assert arrived(seaweed, uri)["ServerSideEncryption"] == "AES256", uri


def encrypted(athena: Any, option: str) -> None:
    athena.create_work_group(
        Name="encrypted",
        Configuration={
            "ExecutionRole": "arn:aws:iam::000000000000:role/etl",
            "EngineVersion": {"SelectedEngineVersion": "PySpark engine version 3"},
            "ResultConfiguration": {
                "EncryptionConfiguration": {
                    "EncryptionOption": option,
                    **({} if option == "SSE_S3" else {"KmsKey": "key"}),
                }
            },
        },
    )


@pytest.mark.parametrize("option", ["SSE_S3", "SSE_KMS", "CSE_KMS"])
def test_folders_do_not_pretend_to_encrypt(tmp_path: Path, option: str) -> None:
    with serving(tmp_path) as server:
        athena = server.client()
        encrypted(athena, option)

        with pytest.raises(ClientError, match=f"asks for {option}") as refused:
            started(athena, "encrypted")

        assert refused.value.response["Error"]["Code"] == "InvalidRequestException"
        assert athena.list_sessions(WorkGroup="encrypted")["Sessions"] == []


def test_folders_on_a_disk_that_is_encrypted_do_for_sse_s3(tmp_path: Path) -> None:
    with serving(tmp_path, objects={"encrypted_disk": True}) as server:
        encrypted(server.client(), "SSE_S3")

        assert started(server.client(), "encrypted")


def test_the_s3_door_says_where_the_objects_are(seaweed: SeaweedFS, tmp_path: Path) -> None:
    with serving(tmp_path, objects=objects(seaweed), output_location=new_location()) as server:
        client = server.client("s3")
        for call in (
            client.list_buckets,
            lambda: client.put_object(Bucket="lake", Key="key", Body=b"1" * 100_000),
            lambda: client.get_object(Bucket="lake", Key="key"),
        ):
            with pytest.raises(ClientError) as refused:
                call()

            said = refused.value.response["Error"]
            assert said["Code"] == "NotImplemented"
            assert f"AWS_ENDPOINT_URL_S3={seaweed.url}" in said["Message"]
        with pytest.raises(HTTPError) as head:
            urlopen(Request(f"{server.url}/lake/key", method="HEAD"))
        assert (head.value.code, head.value.read()) == (501, b"")


def test_clients_are_told_to_go_to_the_service(seaweed: SeaweedFS, tmp_path: Path) -> None:
    with serving(tmp_path, objects=objects(seaweed), output_location=new_location()):
        told = endpoint.exports(Settings(data_dir=tmp_path, objects=objects(seaweed)))
        aws = endpoint.exports(
            Settings(data_dir=tmp_path, objects={"kind": "s3", "region": "eu-west-1"})
        )
        folders = endpoint.exports(Settings(data_dir=tmp_path))

    assert told["AWS_ENDPOINT_URL_S3"] == seaweed.url
    assert aws["AWS_ENDPOINT_URL_S3"] == "https://s3.eu-west-1.amazonaws.com"
    assert "AWS_ENDPOINT_URL_S3" not in folders


@pytest.mark.parametrize(
    "keys",
    [Keys(SERVER.access_key_id, "wrong-secret"), Keys("AKIANOBODYNOBODY", "x"), READER],
    ids=["wrong secret", "unknown key", "may read only"],
)
def test_keys_that_the_service_refuses_stop_the_start(
    seaweed: SeaweedFS, tmp_path: Path, keys: Keys
) -> None:
    location = new_location()

    said = fails_to_start(tmp_path, objects=objects(seaweed, keys), output_location=location)

    assert said.startswith(f"output_location {location}: s3://")
    assert "refuses it" in said
    assert keys.access_key_id not in said


def test_a_service_that_is_away_does_not_stop_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.socket()) as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        away = {
            "kind": "s3",
            "endpoint": f"http://127.0.0.1:{bound.getsockname()[1]}",
            "access_key_id": "AKIA",
            "secret_access_key": "x",
            "session_access_key_id": "AKIA",
            "session_secret_access_key": "x",
        }

        with serving(tmp_path, objects=away) as server:
            assert server.client().list_work_groups()["WorkGroups"]

    assert "output_location s3://sparkowl-results not looked at" in caplog.text
    assert "the S3 service does not answer" in caplog.text


def test_buckets_of_a_role_are_the_services_business(seaweed: SeaweedFS, tmp_path: Path) -> None:
    said = fails_to_start(tmp_path, objects=objects(seaweed), unmapped_role={"buckets": ("lake",)})

    assert said.startswith("The buckets of role unmapped_role cannot be enforced")


def test_a_server_uses_no_keys_of_its_environment_where_it_has_its_own(
    seaweed: SeaweedFS, tmp_path: Path
) -> None:
    with (
        environment(
            AWS_SESSION_TOKEN="stale",
            AWS_ENDPOINT_URL="http://127.0.0.1:1",
            AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
            AWS_ACCESS_KEY_ID="other",
            AWS_SECRET_ACCESS_KEY="other",
        ),
        serving(tmp_path, objects=objects(seaweed), output_location=new_location()) as server,
    ):
        session_id = started(server.client())

        assert ran(server.client(), session_id, "hello")["Status"]["State"] == "COMPLETED"


def test_a_server_without_keys_takes_those_of_its_environment(
    seaweed: SeaweedFS, tmp_path: Path
) -> None:
    chosen = objects(seaweed)
    del chosen["access_key_id"], chosen["secret_access_key"]

    with (
        environment(
            AWS_ACCESS_KEY_ID=SERVER.access_key_id,
            AWS_SECRET_ACCESS_KEY=SERVER.secret_access_key,
        ),
        serving(tmp_path, objects=chosen, output_location=new_location()) as server,
    ):
        session_id = started(server.client())

        assert ran(server.client(), session_id, "hello")["Status"]["State"] == "COMPLETED"

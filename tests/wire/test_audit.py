"""The audit log of a server with the stock settings: who did what, and no secret in it."""

from __future__ import annotations

import http.client
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from tests.keys import allow, work_group
from tests.serving import Server, serving, until

from sparkowl.access.hiding import HIDDEN

CANARY = "canary-7f3a"
SPARK = work_group("spark")


def get(url: str, **headers: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def work(server: Server, athena: Any) -> str:
    """What a user does, with a canary wherever a secret may be."""
    properties = {
        "spark.hadoop.fs.s3a.secret.key": f"{CANARY}-property",
        "spark.executorEnv.DB_PASSWORD": f"{CANARY}-environment",
    }
    with suppress(ClientError):
        athena.start_session(WorkGroup="spark", EngineConfiguration={"SparkProperties": properties})
    session = athena.start_session(WorkGroup="spark", EngineConfiguration={})["SessionId"]
    until(lambda: athena.get_session_status(SessionId=session)["Status"]["State"] == "IDLE")
    made = athena.start_calculation_execution(
        SessionId=session,
        CodeBlock=f"password = '{CANARY}-code'",
        ClientRequestToken=str(uuid4()),
    )["CalculationExecutionId"]
    athena.get_calculation_execution_code(CalculationExecutionId=made)
    with suppress(ClientError):
        athena.start_calculation_execution(
            SessionId=session, CalculationConfiguration={"CodeBlock": f"{CANARY}-older"}
        )
    return str(session)


def test_no_secret_is_in_the_audit_log(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        alice = server.principal("alice", allow("athena:*", SPARK), allow("s3:*"))
        work(server, server.client_of(alice))
        s3 = server.client_of(alice, "s3")
        s3.put_object(
            Bucket="sparkowl-results",
            Key="a",
            Body=f"{CANARY}-body".encode(),
            Metadata={"x": f"{CANARY}-metadata"},
        )
        urls = [
            server.client_of(alice, "s3", signature_version=version).generate_presigned_url(
                "get_object", {"Bucket": "sparkowl-results", "Key": "a"}
            )
            for version in ("s3", "s3v4")
        ]
        assert [get(url) for url in urls] == [200, 200]
        # A secret where the id of a key belongs.
        with suppress(ClientError):
            server.client(key_id=alice.secret, secret="x").list_engine_versions()
        with suppress(ClientError):
            server.client("s3", key_id=alice.secret, secret="x").list_buckets()
        running = server.running.credentials
        secrets = [alice.secret, running.secret_access_key, running.server_secret, CANARY]
        signatures = [
            value
            for url in urls
            for pair in urlsplit(url).query.split("&")
            for name, _, value in [pair.partition("=")]
            if name in {"Signature", "X-Amz-Signature"}
        ]
        assert len(signatures) == 2

    text = (tmp_path / "audit.jsonl").read_text()
    for secret in [*secrets, *signatures]:
        assert secret not in text
    calls = [json.loads(line) for line in text.splitlines()]
    assert {"StartSession", "StartCalculationExecution", "PutObject", "GetObject"} <= {
        call.get("operation") for call in calls
    }
    hidden = [call for call in calls if call.get("operation") == "StartCalculationExecution"]
    assert hidden[0]["parameters"]["CodeBlock"] == HIDDEN
    assert "Authorization" not in text


def test_a_line_says_who_did_what_to_what_and_how_it_ended(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        alice = server.principal("alice", allow("athena:*", SPARK))
        athena = server.client_of(alice)
        answer = athena.start_session(WorkGroup="spark", EngineConfiguration={}, Description="d")
        with pytest.raises(ClientError) as refused:
            athena.get_work_group(WorkGroup="primary")
        athena.get_session(SessionId=answer["SessionId"])
        with pytest.raises(ClientError):
            athena.list_sessions(WorkGroup="no good name!")
        with pytest.raises(ClientError):
            server.client_of(alice, "s3").get_object(Bucket="sparkowl-results", Key="a/b")
        with pytest.raises(ClientError):
            server.client(key_id=alice.id, secret="wrong").get_work_group(WorkGroup="spark")
        start, denied, read, invalid, object_, forged = server.audited()

    assert start["at"].endswith("+00:00")
    assert start["request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert (start["principal"], start["access_key_id"]) == ("alice", alice.id)
    assert (start["source"], start["service"]) == ("127.0.0.1", "athena")
    assert start["user_agent"].startswith("Boto3/")
    assert (start["operation"], start["resource"], start["status"]) == ("StartSession", SPARK, 200)
    assert start["parameters"]["Description"] == "d"
    assert start["made"] == {"SessionId": answer["SessionId"]}

    assert denied["request_id"] == refused.value.response["ResponseMetadata"]["RequestId"]
    assert (denied["status"], denied["error"]) == (403, "AccessDeniedException")
    assert denied["resource"] == work_group("primary")
    assert read["resource"] == SPARK
    assert "made" not in read
    assert (invalid["principal"], invalid["error"]) == ("alice", "InvalidRequestException")
    assert (object_["service"], object_["operation"]) == ("s3", "GetObject")
    assert object_["resource"] == "arn:aws:s3:::sparkowl-results/a/b"
    assert (object_["status"], object_["error"]) == (403, "AccessDenied")
    # Whoever signs wrongly is nobody, whatever the name that it gives.
    assert (forged["access_key_id"], forged["error"]) == (alice.id, "InvalidSignatureException")
    assert forged["operation"] == "GetWorkGroup"
    assert not {"principal", "resource", "parameters"} & set(forged)


def test_what_comes_unsigned_is_written_down_too(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        hostile = "x" * 3000
        assert get(f"{server.url}/bucket/key?{hostile}", **{"User-Agent": hostile}) == 403
        assert get(f"{server.url}/_sparkowl/health") == 200
        (one,) = server.audited()

    assert (one["service"], one["status"], one["error"]) == ("s3", 403, "AccessDenied")
    assert len(one["user_agent"]) < 300
    assert "principal" not in one


def test_a_caller_cannot_say_where_it_calls_from(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        get(f"{server.url}/bucket/key", **{"X-Forwarded-For": "6.6.6.6"})
        (one,) = server.audited()
    assert one["source"] == "127.0.0.1"

    with serving(tmp_path / "proxied", behind_proxy=True) as server:
        get(f"{server.url}/bucket/key", **{"X-Forwarded-For": "6.6.6.6, 1.2.3.4"})
        (one,) = server.audited()
    assert one["source"] == "1.2.3.4"


def test_the_log_can_be_elsewhere_or_nowhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jsonl"
    with serving(tmp_path / "a", audit={"file": elsewhere}) as server:
        server.client().list_engine_versions()
    assert json.loads(elsewhere.read_text())["operation"] == "ListEngineVersions"

    with serving(tmp_path / "b", audit={"enabled": False}) as server:
        server.client().list_engine_versions()
    for folder in ("a", "b"):
        assert not (tmp_path / folder / "audit.jsonl").exists()

"""What boto3 would never send: raw requests, signed by botocore's own signer or not at all."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from tests.serving import Server, serving
from tests.wire.raw import TARGET, refusal, send


def test_every_answer_has_an_id_of_its_own_and_the_content_type_of_the_protocol(
    server: Server, athena: Any
) -> None:
    status, headers, found = send(server)
    first, second = (athena.list_work_groups()["ResponseMetadata"] for _ in range(2))

    assert (status, headers["content-type"]) == (200, "application/x-amz-json-1.1")
    assert [group["Name"] for group in found["WorkGroups"]][:1] != []
    assert re.fullmatch(r"[0-9a-f-]{36}", first["RequestId"])
    assert first["RequestId"] != second["RequestId"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not json", "The request body is not valid JSON."),
        (b"[1]", "The request body must be a JSON object."),
        (b"[" * 100_000, "The request body is not valid JSON."),
        (b"\xff\xff", "The request body is not valid JSON."),
        (b'{"MaxResults": NaN}', "The request body is not valid JSON."),
    ],
    ids=["text", "list", "deep", "bytes", "nan"],
)
def test_a_body_that_is_no_request_is_an_invalid_request(
    server: Server, body: bytes, said: str
) -> None:
    assert refusal(server, body) == (400, "InvalidRequestException", said)


def test_an_empty_body_is_an_empty_request(server: Server) -> None:
    assert send(server, b"")[0] == 200


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("AmazonAthena.Nothing", "Athena has no operation Nothing."),
        ("AWSGlue.Get", "X-Amz-Target must be AmazonAthena.<Operation>, not AWSGlue.Get."),
        (None, "The request has no X-Amz-Target header."),
    ],
)  # fmt: skip
def test_a_target_that_is_none_of_athenas(server: Server, target: str | None, said: str) -> None:
    found = refusal(server, X_Amz_Target=target)

    assert found == (400, "UnknownOperationException", said)


def test_an_unsigned_request_is_refused(server: Server) -> None:
    assert refusal(server, sign=False) == (
        403,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Basic Zm9vOmJhcg==", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=x", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/athena/aws4_request, "
            "SignedHeaders=host, Signature=00",
            "IncompleteSignatureException",
        ),
    ],
    ids=["basic", "bare", "half", "undated"],
)
def test_half_a_signature_is_refused(server: Server, authorization: str, code: str) -> None:
    status, found, _ = refusal(server, sign=False, Authorization=authorization)

    assert (status, found) == (403, code)


def code_of(athena: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        athena.list_work_groups()
    response = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_another_secret_or_another_key_is_refused(server: Server) -> None:
    assert code_of(server.client(secret="x" * 40)) == (403, "InvalidSignatureException")
    assert code_of(server.client(key_id="AKIAAAAAAAAAAAAAAAAA")) == (
        403,
        "UnrecognizedClientException",
    )


def test_any_region_is_fine(server: Server) -> None:
    assert server.client(region_name="eu-central-1").list_work_groups()["WorkGroups"]


def test_a_signature_for_another_service_is_refused(server: Server) -> None:
    status, code, said = refusal(server, service="glue")

    assert (status, code) == (403, "InvalidSignatureException")
    assert said == "Credential should be scoped to correct service: 'athena'."


def signed(server: Server) -> dict[str, Any]:
    """The headers of a good request, for one that is changed after signing."""
    keys = server.running.credentials
    request = AWSRequest("POST", server.url + "/", data=b"{}", headers={"X-Amz-Target": TARGET})
    signer = Credentials(keys.access_key_id, keys.secret_access_key)
    SigV4Auth(signer, "athena", "us-east-1").add_auth(request)
    named = {name.replace("-", "_"): value for name, value in request.headers.items()}
    return {"sign": False, "Content_Type": None, **named}


def test_a_body_that_was_changed_after_signing_is_refused(server: Server) -> None:
    status, code, _ = refusal(server, b'{"MaxResults": 1}', **signed(server))

    assert (status, code) == (403, "InvalidSignatureException")


def test_a_header_of_awss_that_was_added_after_signing_is_refused(server: Server) -> None:
    status, code, said = refusal(server, X_Amz_Meta_Added="x", **signed(server))

    assert (status, code) == (403, "InvalidSignatureException")
    assert "not signed: x-amz-meta-added" in said


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_signature_of_another_time_is_refused(server: Server, minutes: int) -> None:
    stamp = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y%m%dT%H%M%SZ")
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={server.running.credentials.access_key_id}/{stamp[:8]}"
        "/us-east-1/athena/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, "
        f"Signature={'0' * 64}"
    )

    status, code, said = refusal(server, sign=False, Authorization=authorization, X_Amz_Date=stamp)

    assert (status, code) == (403, "InvalidSignatureException")
    assert said.startswith("Signature expired: ")


def test_a_body_over_the_limit_is_refused_before_it_is_read(server: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)

    connection.putrequest("POST", "/")
    connection.putheader("X-Amz-Target", TARGET)
    connection.putheader("Content-Length", str(32 * 1024 * 1024 + 1))
    connection.endheaders()
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()

    assert (answer.status, found["__type"]) == (413, "RequestEntityTooLargeException")
    assert found["Message"] == (
        "The request body has 33554433 bytes; at most 33554432 are allowed."
    )


def test_a_body_without_a_length_is_refused_once_it_is_over_the_limit(server: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    chunks = (b"x" * 1_000_000 for _ in range(35))

    # It may be refused while we are still sending.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/", body=chunks, headers=claim(server), encode_chunked=True)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()

    assert (answer.status, found["__type"]) == (413, "RequestEntityTooLargeException")


@pytest.mark.parametrize("expect", [True, False])
def test_nobody_without_a_key_is_asked_for_a_body(server: Server, expect: bool) -> None:
    """The answer comes although not a byte of the body does."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    headers = claim(server, key_id="AKIDNOBODY0000000000") | {"Content-Length": "1000000"}
    if expect:
        headers["Expect"] = "100-continue"

    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()

    assert (answer.status, found["__type"]) == (403, "UnrecognizedClientException")
    # What came next would be taken for the body.
    assert answer.getheader("connection") == ("close" if expect else None)


def claim(server: Server, key_id: str | None = None) -> dict[str, str]:
    """Headers of a request whose body does not fit its signature."""
    keys = server.running.credentials
    request = AWSRequest("POST", server.url + "/", data=b"", headers={"X-Amz-Target": TARGET})
    signer = Credentials(key_id or keys.access_key_id, keys.secret_access_key)
    SigV4Auth(signer, "athena", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def test_a_get_of_the_root_is_s3s_and_needs_a_signature(server: Server) -> None:
    status, headers, found = send(server, b"", method="GET", sign=False)

    assert status == 403
    assert "xml" in headers["content-type"]
    assert "AccessDenied" in found["raw"]


def test_the_health_page_needs_no_signature_and_says_nothing_else(server: Server) -> None:
    status, _, found = send(server, b"", method="GET", path="/_sparkowl/health", sign=False)

    assert (status, set(found)) == (200, {"status", "version"})


def test_a_driver_that_nobody_knows_gets_no_link(server: Server) -> None:
    for path, said in (("drivers/nobody/link", "1"), ("drivers/", "1"), ("other", None)):
        status, headers, _ = send(
            server, b"", method="GET", path=f"/_sparkowl/{path}", sign=False, X_Amz_Target=None,
            Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Authorization="Bearer x",
        )  # fmt: skip

        # A driver believes its own server only, and by this.
        assert (status, headers.get("sparkowl-unknown-driver")) == (403, said)


def test_an_internal_error_says_nothing_of_the_inside(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        # A database that is gone under the server: nobody foresees everything.
        server.do(lambda: server.running.store.write(_drop_workgroups))

        status, code, said = refusal(server)

    assert (status, code) == (500, "InternalServerException")
    assert said == "Internal error; the server's log has it under this request id."


def _drop_workgroups(tx: Any) -> None:
    tx.exec_driver_sql("ALTER TABLE workgroups RENAME TO elsewhere")

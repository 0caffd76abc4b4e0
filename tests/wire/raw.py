"""Requests as bytes: what boto3 would never send."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.serving import Server

TARGET = "AmazonAthena.ListWorkGroups"


def send(
    server: Server,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    path: str = "/",
    sign: bool = True,
    service: str = "athena",
    **headers: str | None,
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of the answer. A header that is None is left out."""
    named = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[misc]
    request = AWSRequest(
        method,
        server.url + path,
        data=body,
        headers={name: value for name, value in named.items() if value is not None},
    )
    if sign:
        keys = server.running.credentials
        signer = Credentials(keys.access_key_id, keys.secret_access_key)
        SigV4Auth(signer, service, "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, body=body, headers=dict(request.headers.items()))
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    found = json.loads(raw) if raw.startswith(b"{") else {"raw": raw.decode()}
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, found


def refusal(server: Server, body: bytes = b"{}", **how: Any) -> tuple[int, str, str]:
    """Status, code and message; and what every refusal has."""
    status, headers, found = send(server, body, **how)
    assert headers["x-amzn-errortype"] == found["__type"]
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-requestid"])
    assert "Traceback" not in str(found)
    return status, found["__type"], found["Message"]

"""Requests as the SDKs of other languages write them: their headers, what they sign, their JSON."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.serving import Server
from tests.wire.answers import require_model

#: In place of a header's value: the hash of the body.
BODY: Final = "<SHA-256 of the body>"

#: The Go SDK v2 inside of Terraform's provider.
GO: Final = {
    "signed": {"Amz-Sdk-Request": "attempt=1; max=25"},
    "unsigned": {
        "User-Agent": "APN/1.0 HashiCorp/1.0 Terraform/1.13.3 (+https://www.terraform.io) "
        "terraform-provider-aws/6.14.1 (+https://registry.terraform.io/providers/hashicorp/aws) "
        "aws-sdk-go-v2/1.39.0 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 "
        "api/athena#1.55.3 m/E,g",
        "Accept-Encoding": "gzip",
    },
}
#: The Java SDK v2 inside of CloudFormation's handlers.
JAVA: Final = {
    "signed": {"amz-sdk-request": "attempt=1; max=4", "x-amz-content-sha256": BODY},
    "unsigned": {
        "User-Agent": "aws-sdk-java/2.31.6 md/io#sync md/http#Apache ua/2.1 os/Linux#6.1 "
        "lang/java#17.0.15 md/vendor#Amazon.com_Inc. exec-env/AWS_Lambda_java17 m/D",
        "Connection": "Keep-Alive",
    },
}


class Refused(Exception):
    """An answer that is no 200: its code and message."""

    def __init__(self, code: str, message: str, members: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.members = members


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a server as one SDK does. Every answer is compared with Athena's model."""

    server: Server
    sdk: Mapping[str, Mapping[str, str]]

    def __call__(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The members of the answer; :class:`Refused` for an error."""
        data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        request = AWSRequest("POST", f"{self.server.url}/", data=data)
        request.headers["Content-Type"] = "application/x-amz-json-1.1"
        request.headers["Content-Length"] = str(len(data))
        request.headers["X-Amz-Target"] = f"AmazonAthena.{operation}"
        request.headers["Amz-Sdk-Invocation-Id"] = str(uuid4())
        for name, value in self.sdk["signed"].items():
            request.headers[name] = sha256(data).hexdigest() if value is BODY else value
        keys = self.server.running.credentials
        signer = Credentials(keys.access_key_id, keys.secret_access_key)
        SigV4Auth(signer, "athena", "us-east-1").add_auth(request)
        status, raw = self._send(data, dict(request.headers.items()) | dict(self.sdk["unsigned"]))
        require_model(operation, status, raw)
        answer: dict[str, Any] = json.loads(raw)
        if status != 200:
            raise Refused(answer["__type"], answer["Message"], answer)
        return answer

    def _send(self, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=20)
        try:
            connection.putrequest("POST", "/", skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            assert answer.getheader("content-encoding") is None
            return answer.status, answer.read()
        finally:
            connection.close()

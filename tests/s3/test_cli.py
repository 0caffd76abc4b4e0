"""The real AWS command line, as people use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.s3.conftest import Served

AWS = Path(sys.executable).parent / "aws"

Aws = Callable[..., str]


@pytest.fixture
def aws(served: Served, tmp_path: Path) -> Aws:
    environment = {
        "PATH": str(AWS.parent),
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": served.key,
        "AWS_SECRET_ACCESS_KEY": served.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": served.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "LC_ALL": "C.UTF-8",
    }

    def run(*arguments: str | Path, expect: int = 0) -> str:
        done = subprocess.run(
            [AWS, *arguments], env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    return run


def test_a_day_with_the_command_line(aws: Aws, served: Served, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "a b.txt").write_text("a")
    (data / "sub" / "ü.txt").write_text("u")
    (data / "big").write_bytes(b"x" * (9 << 20))

    aws("s3", "mb", "s3://cli-lake")
    aws("s3", "cp", data / "a b.txt", "s3://cli-lake/one.txt")
    assert "one.txt" in aws("s3", "ls", "s3://cli-lake")
    aws("s3", "sync", data, "s3://cli-lake/data")
    listing = aws("s3", "ls", "--recursive", "s3://cli-lake/data/")
    assert [line.split(maxsplit=3)[3] for line in listing.splitlines()] == [
        "data/a b.txt",
        "data/big",
        "data/sub/ü.txt",
    ]
    assert aws("s3", "sync", data, "s3://cli-lake/data") == ""  # nothing is new
    assert "PRE sub/" in aws("s3", "ls", "s3://cli-lake/data/")

    aws("s3", "sync", "s3://cli-lake/data", tmp_path / "back")
    for path in ("a b.txt", "big", "sub/ü.txt"):
        assert (tmp_path / "back" / path).read_bytes() == (data / path).read_bytes()
    aws("s3", "mv", "s3://cli-lake/one.txt", "s3://cli-lake/two.txt")
    assert not served.files.exists("cli-lake", "one.txt")
    assert served.files.read_bytes("cli-lake", "two.txt") == b"a"

    assert "BucketNotEmpty" in aws("s3", "rb", "s3://cli-lake", expect=1)
    aws("s3", "rm", "--recursive", "s3://cli-lake")
    aws("s3", "rb", "s3://cli-lake")
    assert "cli-lake" not in aws("s3", "ls")
    assert "NoSuchBucket" in aws("s3", "ls", "s3://cli-lake", expect=255)

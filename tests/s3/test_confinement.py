"""Whatever a key looks like, it is kept as it is, and nothing is touched outside its bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from tests.s3.conftest import Served, Start

#: Raw paths behind the bucket, and the keys that they are.
PROBES = [
    ("x//y", "x//y"),
    ("a/./b", "a/./b"),
    ("a/../b2", "a/../b2"),
    ("../../esc", "../../esc"),
    ("%2e%2e/%2e%2e/esc", "../../esc"),
    ("..%2F..%2Fesc", "../../esc"),
    ("/lead", "/lead"),
    ("/etc/passwd", "/etc/passwd"),
    ("%2F", "/"),
    ("%252F", "%2F"),
    ("%~x", "%~x"),
    ("..\\esc", "..\\esc"),
    ("c:d.parquet", "c:d.parquet"),
    ("day=1%253A2/part", "day=1%3A2/part"),
    ("a+b%20c", "a+b c"),
    ("line%0Abreak", "line\nbreak"),
    ("%C3%BC", "ü"),
]


def outside(served: Served, bucket: str) -> set[Path]:
    top = served.files.root.parent
    inside = served.files.root / bucket
    return {path for path in top.rglob("*") if not path.is_relative_to(inside)}


@pytest.mark.parametrize(("raw", "key"), PROBES)
def test_a_key_stays_in_its_bucket(served: Served, bucket: str, raw: str, key: str) -> None:
    before = outside(served, bucket)
    body = b"" if key.endswith("/") else b"probe"
    assert served.send("PUT", f"/{bucket}/{raw}", body).status == 200
    assert served.send("GET", f"/{bucket}/{raw}").body == body
    listing = served.send("GET", f"/{bucket}?list-type=2&encoding-type=url").body
    assert f"<Key>{quote(key, safe='/-_.~*')}</Key>".encode() in listing
    assert outside(served, bucket) == before
    assert served.send("DELETE", f"/{bucket}/{raw}").status == 204
    assert b"<KeyCount>0<" in served.send("GET", f"/{bucket}?list-type=2").body


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("a%00b", "InvalidURI"),
        ("%FF", "InvalidURI"),
        ("%ED%A0%80", "InvalidURI"),
        ("x" * 300, "KeyTooLongError"),
        ("a/" * 600, "KeyTooLongError"),
    ],
)
def test_what_can_be_no_key_is_refused(served: Served, bucket: str, raw: str, code: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        reply = served.send(method, f"/{bucket}/{raw}", b"" if method == "PUT" else None)
        assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize(
    "raw", ["..", ".", "%2e%2e", "staging", "..%2Fstaging", "lake%2F..", "%00"]
)
def test_a_bucket_name_leads_nowhere(served: Served, raw: str) -> None:
    for method in ("GET", "DELETE"):
        assert served.send(method, f"/{raw}").code == "NoSuchBucket"
    assert served.send("PUT", f"/{raw}/key", b"x").code == "NoSuchBucket"
    refused = served.send("PUT", f"/{raw}")
    assert refused.code == "InvalidBucketName" or raw == "staging"
    if raw == "staging":  # a name like any other: it is not the staging folder
        assert (served.files.root / "staging").is_dir()
        served.files.delete_bucket("staging")


def test_a_planted_link_is_not_followed(serving: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"secret")
    with serving(tmp_path / "store") as served:
        served.files.create_bucket("lake")
        folder = served.files.folder("lake")
        (folder / "dir").symlink_to(secret)
        (folder / "file").symlink_to(secret / "file")
        for key in ("dir/file", "file", "dir/"):
            assert served.send("GET", f"/lake/{key}").code == "NoSuchKey"
            copied = {"x-amz-copy-source": f"lake/{key}"}
            assert served.send("PUT", "/lake/copy", None, copied).code == "NoSuchKey"
        assert served.send("PUT", "/lake/dir/new", b"x").code == "KeyConflict"
        served.send("DELETE", "/lake/dir/file")
        assert b"<KeyCount>0<" in served.send("GET", "/lake?list-type=2").body
        # The last step down is replaced, not followed.
        assert served.send("PUT", "/lake/file", b"new").status == 200
    assert (secret / "file").read_bytes() == b"secret"
    assert [path.name for path in secret.iterdir()] == ["file"]

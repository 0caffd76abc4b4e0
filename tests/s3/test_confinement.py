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
    ("%2e%2e%5cesc", "..\\esc"),
    ("....//esc", "....//esc"),
    ("..;/esc", "..;/esc"),
    ("%252e%252e/esc", "%2e%2e/esc"),
    ("..%2f..%2F/esc", "../..//esc"),
    (".%2e/%2e./esc", "../../esc"),
    ("%EF%BC%8E%EF%BC%8E/esc", "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/esc"),
    ("%u002e%u002e/esc", "%u002e%u002e/esc"),
    ("~root/esc", "~root/esc"),
    ("C:%5Cesc", "C:\\esc"),
    ("%09/..%20/esc", "\t/.. /esc"),
    ("x/..", "x/.."),
    ("../", "../"),
    ("-rf", "-rf"),
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
        ("%c0%ae%c0%ae/esc", "InvalidURI"),
        ("%e0%80%ae/esc", "InvalidURI"),
        ("..%00/esc", "InvalidURI"),
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


@pytest.mark.parametrize("key", ["../other/secret", "../../keys", "/etc/passwd", "..", "%2e%2e/x"])
def test_no_other_place_for_a_key_leads_out(served: Served, bucket: str, key: str) -> None:
    """Sources of copies, lists of deletions, prefixes, markers, and ids of uploads."""
    s3 = served.client()
    served.files.put_bytes(bucket, "a", b"x")
    before = outside(served, bucket)
    for source in (f"{bucket}/{key}", f"{bucket}/{quote(key, safe='')}", f"../{key}"):
        reply = served.send("PUT", f"/{bucket}/copy", None, {"x-amz-copy-source": source})
        assert reply.status == 404, source
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [one["Key"] for one in deleted["Deleted"]] == [key]
    for argument in ("Prefix", "StartAfter"):
        listing = s3.list_objects_v2(Bucket=bucket, **{argument: key}).get("Contents", [])
        assert {one["Key"] for one in listing} <= {"a"}
    for method in ("PUT", "POST", "DELETE", "GET"):
        upload = quote(key, safe="")
        path = f"/{bucket}/a?uploadId={upload}" + ("&partNumber=1" if method == "PUT" else "")
        assert served.send(method, path, b"x").code == "NoSuchUpload"
    assert outside(served, bucket) == before


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

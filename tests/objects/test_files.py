"""Objects are plain files, appear whole, and never lie outside their bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.objects.attributes import About
from sparkowl.objects.errors import (
    BucketAlreadyExists,
    BucketNotEmpty,
    InvalidBucketName,
    KeyConflict,
    MetadataTooLarge,
    NoSuchBucket,
    NoSuchKey,
    ObjectError,
    PreconditionFailed,
)
from sparkowl.objects.files import Condition, Files
from sparkowl.objects.keys import segments_of

AWKWARD = ["x//y", "a/./b", "a/../b2", "../../esc", "/lead", "%2F", "%~x", "a b+ü\n", "c:d", "/"]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def keys(files: Files, prefix: str = "") -> list[str]:
    return [entry.key for entry in files.list("lake", prefix=prefix).entries]


# --- buckets ----------------------------------------------------------------------------------


def test_a_bucket_is_a_folder(files: Files) -> None:
    assert files.buckets() == {"lake": files.root / "lake"}
    assert files.folder("lake").is_dir()
    assert abs(files.created_at("lake") - datetime.now(UTC)) < timedelta(minutes=1)


def test_only_real_folders_with_bucket_names_are_buckets(files: Files, tmp_path: Path) -> None:
    (files.root / "No_Bucket").mkdir()
    (files.root / "linked").symlink_to(tmp_path)
    (files.root / "plain-file").touch()
    assert list(files.buckets()) == ["lake"]
    for name in ("No_Bucket", "linked", "plain-file", "missing", "..", "lake/..", "a\0b"):
        with pytest.raises(NoSuchBucket):
            files.folder(name)
        with pytest.raises(NoSuchBucket):
            files.list(name)
        with pytest.raises(NoSuchBucket):
            files.put_bytes(name, "key", b"")


def test_a_bucket_is_made_once(files: Files) -> None:
    with pytest.raises(BucketAlreadyExists):
        files.create_bucket("lake")
    with pytest.raises(InvalidBucketName):
        files.create_bucket("../lake")


def test_a_bucket_with_an_object_is_not_deleted(files: Files) -> None:
    files.put_bytes("lake", "a/b", b"x")
    with pytest.raises(BucketNotEmpty, match="a/b"):
        files.delete_bucket("lake")
    assert files.read_bytes("lake", "a/b") == b"x"


def test_a_bucket_with_a_marker_is_not_deleted(files: Files) -> None:
    files.put_bytes("lake", "a/", b"")
    with pytest.raises(BucketNotEmpty):
        files.delete_bucket("lake")


def test_a_bucket_of_empty_folders_and_forgotten_checksums_is_deleted(files: Files) -> None:
    files.put_bytes("lake", "a/b/c", b"x")
    files.delete("lake", "a/b/c")
    (files.root / "lake/a/.old.crc").touch()
    files.delete_bucket("lake")
    assert files.buckets() == {}


def test_staging_on_another_file_system_is_refused_at_once(tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with pytest.raises(ObjectError, match="same file system"):
        Files(tmp_path / "buckets", shared_memory)


# --- objects ----------------------------------------------------------------------------------


def test_an_object_is_a_plain_file(files: Files) -> None:
    entry = files.put_bytes("lake", "a/b.txt", b"hello")
    assert (entry.key, entry.size_bytes, entry.etag) == ("a/b.txt", 5, md5(b"hello"))
    assert files.path("lake", "a/b.txt").read_bytes() == b"hello"
    assert files.read_bytes("lake", "a/b.txt") == b"hello"
    assert files.entry("lake", "a/b.txt") == entry
    assert files.exists("lake", "a/b.txt")
    assert list(files.staging.iterdir()) == []


def test_a_file_that_others_wrote_is_an_object(files: Files) -> None:
    (files.root / "lake/out").mkdir()
    (files.root / "lake/out/part-0").write_bytes(b"spark")
    entry = files.entry("lake", "out/part-0")
    assert entry.size_bytes == 5
    assert entry.etag.endswith("-0")
    assert files.entry("lake", "out/part-0").etag == entry.etag


def test_headers_and_metadata_stay_with_the_object(files: Files) -> None:
    about = About(headers={"content-type": "text/x"}, metadata={"owner": "é"})
    files.put_bytes("lake", "a", b"x", about=about)
    assert files.entry("lake", "a").about == about
    files.put_bytes("lake", "a", b"x")
    assert files.entry("lake", "a").about == About()


def test_too_much_metadata_is_refused_and_leaves_nothing(files: Files) -> None:
    for about in (About(metadata={"a": "x" * 2048}), About(headers={"a": "x" * 3000})):
        with pytest.raises(MetadataTooLarge):
            files.put_bytes("lake", "a", b"x", about=about)
    assert not files.exists("lake", "a")
    assert list(files.staging.iterdir()) == []


def test_a_rewrite_in_place_ends_the_old_etag(files: Files) -> None:
    before = files.put_bytes("lake", "a", b"one", about=About(metadata={"a": "b"}))
    path = files.path("lake", "a")
    path.write_bytes(b"two")  # the same inode and size, and the attribute stays
    os.utime(path, ns=(1, 1))
    after = files.entry("lake", "a")
    assert after.etag != before.etag
    assert after.about == About()


@pytest.mark.parametrize(
    "planted",
    [
        b"",
        b"[]",
        b"[" * 3000,
        b"\xff",
        b'{"etag": "x", "mtime": 1, "size": 1}',
        b'{"etag": "00000000000000000000000000000000", "mtime": "1"}',
        b'{"etag": "00000000000000000000000000000000", "mtime": 1e999}',
    ],
)
def test_a_planted_attribute_is_not_believed(files: Files, planted: bytes) -> None:
    files.put_bytes("lake", "a", b"x")
    os.setxattr(files.path("lake", "a"), "user.sparkowl.object", planted)
    assert files.entry("lake", "a").etag.endswith("-0")


def test_a_planted_header_cannot_end_the_line(files: Files) -> None:
    files.put_bytes("lake", "a", b"x", about=About(metadata={"a": "b\r\nc", "d": "e"}))
    assert files.entry("lake", "a").about.metadata == {"d": "e"}


def test_what_is_not_there_is_said_not_to_be_there(files: Files) -> None:
    files.put_bytes("lake", "a/b", b"x")
    for key in ("missing", "a", "a/", "a/b/c", "a/b/", "missing/b"):
        with pytest.raises(NoSuchKey):
            files.open("lake", key)
        assert not files.exists("lake", key)


def test_deleting_is_repeatable_and_leaves_the_folder(files: Files) -> None:
    files.put_bytes("lake", "a/b", b"x")
    for _ in range(2):
        files.delete("lake", "a/b")
    assert not files.exists("lake", "a/b")
    assert (files.root / "lake/a").is_dir()
    assert keys(files) == []
    files.delete("lake", "a")  # a folder is no object


def test_an_open_object_stays_what_it_was(files: Files) -> None:
    files.put_bytes("lake", "a", b"one")
    with files.open("lake", "a") as reader:
        files.put_bytes("lake", "a", b"three")
        assert reader.read(0, 100) == b"one"
        assert reader.entry.size_bytes == 3


def test_a_draft_that_is_left_is_gone(files: Files) -> None:
    with files.draft() as draft:
        draft.write(b"half")
    assert list(files.staging.iterdir()) == []


def test_abandoned_drafts_are_cleared_by_age(files: Files) -> None:
    (files.staging / "draft-0").touch()
    now = datetime.now(UTC)
    assert files.clear_abandoned(now - timedelta(hours=1)) == 0
    assert files.clear_abandoned(now + timedelta(hours=1)) == 1


# --- a folder is not a flat space of keys -------------------------------------------------------


def test_an_object_cannot_lie_below_an_object(files: Files) -> None:
    files.put_bytes("lake", "a", b"x")
    with pytest.raises(KeyConflict):
        files.put_bytes("lake", "a/b", b"x")
    with pytest.raises(KeyConflict):
        files.put_bytes("lake", "a/", b"")
    assert list(files.staging.iterdir()) == []


def test_an_object_cannot_have_the_name_of_a_folder_with_objects(files: Files) -> None:
    files.put_bytes("lake", "a/b/c", b"x")
    for condition in (Condition(), Condition(if_absent=True)):
        with pytest.raises(KeyConflict), files.draft() as draft:
            files.commit(draft, "lake", "a", About(), condition=condition)
    assert files.read_bytes("lake", "a/b/c") == b"x"


def test_empty_folders_that_deleted_objects_left_make_way(files: Files) -> None:
    for condition in (Condition(), Condition(if_absent=True)):
        files.put_bytes("lake", "a/b/c", b"x")
        files.delete("lake", "a/b/c")
        with files.draft() as draft:
            files.commit(draft, "lake", "a", About(), condition=condition)
        assert files.exists("lake", "a")
        files.delete("lake", "a")


def test_a_marker_is_its_folder(files: Files) -> None:
    about = About(headers={"content-type": "application/x-directory"})
    entry = files.put_bytes("lake", "a/b/", b"", about=about)
    assert (entry.key, entry.size_bytes, entry.etag) == ("a/b/", 0, md5(b""))
    assert files.entry("lake", "a/b/").about == about
    assert files.read_bytes("lake", "a/b/") == b""
    assert (files.root / "lake/a/b").is_dir()
    files.put_bytes("lake", "a/b/c", b"x")
    assert keys(files) == ["a/b/", "a/b/c"]
    files.delete("lake", "a/b/")
    assert keys(files) == ["a/b/c"]
    assert not files.exists("lake", "a/b/")


def test_a_marker_holds_no_bytes(files: Files) -> None:
    with pytest.raises(KeyConflict, match="holds no bytes"):
        files.put_bytes("lake", "a/", b"x")


@pytest.mark.parametrize("key", AWKWARD)
def test_awkward_keys_are_kept_as_they_are(files: Files, key: str, tmp_path: Path) -> None:
    outside = {path for path in tmp_path.rglob("*") if "lake" not in path.parts}
    files.put_bytes("lake", key, b"" if key.endswith("/") else b"x")
    assert keys(files) == [key]
    assert files.entry("lake", key).key == key
    assert {path for path in tmp_path.rglob("*") if "lake" not in path.parts} == outside
    files.delete("lake", key)
    assert keys(files) == []


# --- symbolic links ---------------------------------------------------------------------------


def test_a_link_leads_nowhere(files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (files.root / "lake/dir").symlink_to(outside)
    (files.root / "lake/file").symlink_to(outside / "secret")
    for key in ("dir/secret", "file", "dir/"):
        assert not files.exists("lake", key)
        files.delete("lake", key)
    with pytest.raises(KeyConflict):
        files.put_bytes("lake", "dir/new", b"x")
    with pytest.raises(KeyConflict):
        files.path("lake", "dir/secret")
    assert keys(files) == []
    assert (outside / "secret").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_writing_over_a_link_replaces_the_link(files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    (files.root / "lake/a").symlink_to(outside)
    files.put_bytes("lake", "a", b"new")
    assert outside.read_bytes() == b"kept"
    assert files.read_bytes("lake", "a") == b"new"


def test_only_plain_files_are_objects(files: Files) -> None:
    os.mkfifo(files.root / "lake/fifo")
    assert keys(files) == []
    assert not files.exists("lake", "fifo")


# --- conditions -------------------------------------------------------------------------------


def put_if(files: Files, condition: Condition) -> str:
    with files.draft() as draft:
        draft.write(b"new")
        return files.commit(draft, "lake", "a", About(), condition=condition).etag


def test_if_absent_is_decided_by_the_file_system(files: Files) -> None:
    put_if(files, Condition(if_absent=True))
    with pytest.raises(PreconditionFailed):
        put_if(files, Condition(if_absent=True))
    with pytest.raises(PreconditionFailed):
        files.check("lake", "a", Condition(if_absent=True))


def test_of_many_writers_if_absent_lets_one_win(files: Files) -> None:
    def attempt(_: int) -> bool:
        try:
            put_if(files, Condition(if_absent=True))
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_if_match_is_decided_on_what_is_replaced(files: Files) -> None:
    with pytest.raises(NoSuchKey):
        put_if(files, Condition(if_match=md5(b"old")))
    files.put_bytes("lake", "a", b"old")
    put_if(files, Condition(if_match=md5(b"old")))
    with pytest.raises(PreconditionFailed):
        put_if(files, Condition(if_match=md5(b"old")))


# --- Hadoop's checksums -------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["put", "put if absent", "delete"])
def test_a_checksum_that_spark_left_goes_with_its_file(files: Files, act: str) -> None:
    folder = files.root / "lake"
    (folder / ".a.crc").write_bytes(b"crc")
    if act != "put if absent":
        (folder / "a").write_bytes(b"old")
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: files.put_bytes("lake", "a", b"new"),
        "put if absent": lambda: put_if(files, Condition(if_absent=True)),
        "delete": lambda: files.delete("lake", "a"),
    }
    acts[act]()
    assert not (folder / ".a.crc").exists()


# --- listings ---------------------------------------------------------------------------------


def fill(files: Files, *names: str) -> None:
    for name in names:
        files.path("lake", name).parent.mkdir(parents=True, exist_ok=True)
        files.path("lake", name).touch()


def test_keys_come_in_the_order_of_their_bytes(files: Files) -> None:
    fill(files, "o-", "o.b", "o/x", "o0", "%~/z", "ü", "z", "\uffee", "\U0001f600")
    assert keys(files) == ["%~/z", "o-", "o.b", "o/x", "o0", "z", "ü", "\uffee", "\U0001f600"]


def test_checksums_and_other_names_are_hidden(files: Files) -> None:
    fill(files, "a", "_SUCCESS", ".hidden")
    for name in (".a.crc", "._SUCCESS.crc", "%~", "%~x"):
        (files.root / "lake" / name).touch()
    (files.root / "lake" / os.fsdecode(b"\xff")).touch()
    assert keys(files) == [".hidden", "_SUCCESS", "a"]


def test_a_delimiter_rolls_up_and_empty_folders_are_nothing(files: Files) -> None:
    fill(files, "a", "b/c", "b/d/e", "f/g")
    (files.root / "lake/empty/deeper").mkdir(parents=True)
    page = files.list("lake", delimiter="/")
    assert [entry.key for entry in page.entries] == ["a"]
    assert page.prefixes == ("b/", "f/")
    page = files.list("lake", prefix="b/", delimiter="/")
    assert [entry.key for entry in page.entries] == ["b/c"]
    assert page.prefixes == ("b/d/",)
    assert files.list("lake", prefix="missing/x", delimiter="/").entries == ()
    assert files.list("lake", prefix="a/", delimiter="/").entries == ()
    assert files.list("lake", prefix="nul\0/").entries == ()
    assert files.list("lake", prefix="x" * 300 + "/").entries == ()


def test_listing_after_a_key_below_a_prefix_still_shows_the_prefix(files: Files) -> None:
    fill(files, "a/1", "a/2", "b")
    assert files.list("lake", delimiter="/", after="a/1").prefixes == ("a/",)
    assert files.list("lake", delimiter="/", after="a/").prefixes == ()


segments = st.text("ab.-/0", min_size=1, max_size=8)


@given(
    names=st.lists(segments, max_size=12),
    prefix=st.text("ab./", max_size=3),
    delimiter=st.sampled_from(["", "/", ".", "a/"]),
    limit=st.integers(1, 5),
)
def test_pages_are_those_of_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    prefix: str,
    delimiter: str,
    limit: int,
) -> None:
    folder = tmp_path_factory.mktemp("store")
    files = Files(folder / "buckets", folder / "staging")
    files.create_bucket("lake")
    kept = [name for name in names if _put(files, name)]

    expected: list[str] = []
    for key in sorted({key for key in kept if key.startswith(prefix)}, key=str.encode):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        shown = key if end < 0 else key[: end + len(delimiter)]
        if not expected or expected[-1] != shown:
            expected.append(shown)

    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = files.list("lake", prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        shown_here = [entry.key for entry in page.entries] + list(page.prefixes)
        assert len(shown_here) <= limit
        found += sorted(shown_here, key=str.encode)
        after = page.next_after
    assert found == expected


def _put(files: Files, key: str) -> bool:
    try:
        segments_of(key)
        files.put_bytes("lake", key, b"")
    except ObjectError:
        return False
    return True

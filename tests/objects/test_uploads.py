"""Parts become one object, or nothing."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sparkowl.objects.attributes import About
from sparkowl.objects.drafts import Draft
from sparkowl.objects.errors import (
    InvalidPart,
    InvalidPartOrder,
    NoSuchBucket,
    NoSuchUpload,
    PartTooSmall,
    PreconditionFailed,
)
from sparkowl.objects.files import Condition, Files
from sparkowl.objects.uploads import MIN_PART_BYTES, Upload, Uploads

BIG = b"x" * MIN_PART_BYTES


def begin(files: Files, key: str = "a/b") -> Upload:
    uploads = Uploads(files)
    about = About(metadata={"a": "b"})
    return uploads.get("lake", key, uploads.create("lake", key, about))


def send(files: Files, upload: Upload, number: int, data: bytes) -> tuple[int, str]:
    with files.draft() as draft:
        draft.write(data)
        return number, Uploads(files).keep(upload, number, draft)


def test_parts_in_any_order_become_one_object(files: Files) -> None:
    upload = begin(files)
    last = send(files, upload, 7, b"end")
    first = send(files, upload, 2, BIG)
    entry = Uploads(files).complete(upload, [first, last])
    digests = bytes.fromhex(first[1]) + bytes.fromhex(last[1])
    assert entry.etag == hashlib.md5(digests, usedforsecurity=False).hexdigest() + "-2"
    assert entry.about.metadata == {"a": "b"}
    assert files.read_bytes("lake", "a/b") == BIG + b"end"
    assert list(files.staging.iterdir()) == []


def test_a_part_sent_again_replaces_the_first(files: Files) -> None:
    upload = begin(files)
    old = send(files, upload, 1, b"old")
    new = send(files, upload, 1, b"new")
    assert [part.etag for part in Uploads(files).parts(upload)] == [new[1]]
    with pytest.raises(InvalidPart):
        Uploads(files).complete(upload, [old])
    Uploads(files).complete(upload, [new])
    assert files.read_bytes("lake", "a/b") == b"new"


def test_nothing_is_visible_before_it_is_complete(files: Files) -> None:
    upload = begin(files)
    part = send(files, upload, 1, b"x")
    assert files.list("lake").entries == ()
    assert [(one.number, one.size_bytes) for one in Uploads(files).parts(upload)] == [(1, 1)]
    Uploads(files).abort(upload)
    assert list(files.staging.iterdir()) == []
    with pytest.raises(NoSuchUpload):
        Uploads(files).get("lake", "a/b", upload.id)
    with pytest.raises(NoSuchUpload):
        send(files, upload, 2, b"y")
    with pytest.raises(InvalidPart):
        Uploads(files).complete(upload, [part])


def test_parts_must_be_known_in_order_and_large(files: Files) -> None:
    upload = begin(files)
    one, two = send(files, upload, 1, b"small"), send(files, upload, 2, b"end")
    for wanted, error in (
        ([], InvalidPart),
        ([(3, one[1])], InvalidPart),
        ([(1, two[1])], InvalidPart),
        ([two, one], InvalidPartOrder),
        ([one, one], InvalidPartOrder),
        ([one, two], PartTooSmall),
    ):
        with pytest.raises(error):
            Uploads(files).complete(upload, wanted)
    assert not files.exists("lake", "a/b")
    Uploads(files).complete(upload, [two])


def test_a_condition_is_decided_at_the_end_and_the_parts_stay(files: Files) -> None:
    upload = begin(files)
    part = send(files, upload, 1, b"mine")
    files.put_bytes("lake", "a/b", b"theirs")
    with pytest.raises(PreconditionFailed):
        Uploads(files).complete(upload, [part], Condition(if_absent=True))
    assert files.read_bytes("lake", "a/b") == b"theirs"
    Uploads(files).complete(upload, [part])


def test_a_part_of_another_file_system_is_copied(files: Files) -> None:
    source = Path("/proc/version").read_bytes()
    with files.draft() as draft, Path("/proc/version").open("rb") as file:
        draft.append(file.fileno(), len(source))
        assert draft.path.read_bytes() == source
        with pytest.raises(OSError, match="became shorter"):
            draft.append(file.fileno(), len(source) + 1)


def test_of_two_that_complete_an_upload_at_once_the_later_is_told_that_it_is_gone(
    files: Files,
) -> None:
    """Clients ask again when the first answer takes long."""

    class Meanwhile(Files):
        def draft(self) -> Draft:
            Uploads(files).complete(upload, [part])
            return super().draft()

    upload = begin(files)
    part = send(files, upload, 1, b"all")

    with pytest.raises(NoSuchUpload):
        Uploads(Meanwhile(files.root, files.staging)).complete(upload, [part])

    assert files.read_bytes("lake", "a/b") == b"all"
    assert list(files.staging.iterdir()) == []


def test_an_upload_is_for_its_key_only(files: Files) -> None:
    upload = begin(files)
    for bucket, key, upload_id in (
        ("lake", "other", upload.id),
        ("other", "a/b", upload.id),
        ("lake", "a/b", "../" + upload.id),
        ("lake", "a/b", "0" * 32),
    ):
        with pytest.raises(NoSuchUpload):
            Uploads(files).get(bucket, key, upload_id)
    with pytest.raises(NoSuchBucket):
        Uploads(files).create("other", "a", About())


def test_uploads_are_listed_and_forgotten_by_age(files: Files) -> None:
    uploads = Uploads(files)
    second, first = begin(files, "b"), begin(files, "a")
    assert list(uploads.list("lake")) == [first, second]
    assert uploads.list("other") == []
    now = datetime.now(UTC)
    assert uploads.clear_abandoned(now - timedelta(hours=1)) == 0
    assert uploads.clear_abandoned(now + timedelta(hours=1)) == 2
    assert list(files.staging.iterdir()) == []

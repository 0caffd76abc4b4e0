"""Any key has one path, any such path one key, and no path leaves the bucket."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.objects.errors import InvalidBucketName, InvalidKey, KeyTooLong, ObjectError
from sparkowl.objects.keys import check_bucket_name, key_of, path_of, segments_of

#: What goes wrong, more often than chance would bring it.
pieces = st.sampled_from(
    ["", ".", "..", "%~", "%~.", "%~..", "%", "~", "a", "%2F", "%3A", "ü", "+"]
)
awkward = st.lists(pieces | st.text(max_size=3), min_size=1, max_size=6).map("/".join)
keys = (awkward | st.text(min_size=1, max_size=60)).filter(lambda key: _is_key(key))


def _is_key(key: str) -> bool:
    try:
        segments_of(key)
    except ObjectError:
        return False
    return True


@given(key=keys)
def test_a_key_comes_back_from_its_path(key: str) -> None:
    assert key_of(path_of(key)) == key


@given(key=keys)
def test_a_path_stays_in_the_bucket(key: str) -> None:
    path = path_of(key)
    assert posixpath.normpath(path) == path.removesuffix("/")
    assert not path.startswith("/")
    assert ".." not in path.split("/")


@given(one=keys, other=keys)
def test_two_keys_have_two_paths(one: str, other: str) -> None:
    assert (path_of(one) == path_of(other)) == (one == other)


@given(path=st.lists(pieces | st.text(max_size=3), min_size=1, max_size=4).map("/".join))
def test_a_path_that_no_key_has_has_no_key(path: str) -> None:
    key = key_of(path)
    assert key is None or not _is_key(key) or path_of(key) == path


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("day=1%3A2/part-0.parquet", "day=1%3A2/part-0.parquet"),
        ("x//y", "x/%~/y"),
        ("a/./b", "a/%~./b"),
        ("a/../b2", "a/%~../b2"),
        ("../../esc", "%~../%~../esc"),
        ("/lead", "%~/lead"),
        ("%2F", "%2F"),
        ("%~x", "%~%~x"),
        ("mark/", "mark/"),
        ("/", "%~/"),
        ("a//", "a/%~/"),
        ("a b+c/ü\n", "a b+c/ü\n"),
    ],
)
def test_a_path_is_what_one_would_expect(key: str, path: str) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize("path", ["%~x", "%~", "a/%~", "%~~", "..", "a/../b", "a//b"])
def test_other_names_on_disk_are_no_keys(path: str) -> None:
    assert key_of(path) is None


@pytest.mark.parametrize("key", ["x" * 256, "a/" + "ü" * 128, "%~" + "x" * 252, "a/" * 513])
def test_what_does_not_fit_is_too_long(key: str) -> None:
    with pytest.raises(KeyTooLong):
        path_of(key)


def test_what_just_fits_is_not_too_long() -> None:
    assert path_of("x" * 255)
    assert path_of(("a/" * 512)[:1024])


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800"])
def test_what_can_be_no_key_is_invalid(key: str) -> None:
    with pytest.raises(InvalidKey):
        path_of(key)


@pytest.mark.parametrize("name", ["abc", "a-b.c", "0-0", "a" * 63])
def test_ordinary_bucket_names_are_allowed(name: str) -> None:
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", "a..b", "127.0.0.1", "xn--abc", "ab\n"),
        *("...", "abc-s3alias", "a/b", "$extremelyunlikelytoexist$", "äbc", "²²²"),
    ],
)
def test_other_bucket_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidBucketName):
        check_bucket_name(name)

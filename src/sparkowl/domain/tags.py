"""Tags of workgroups and sessions: what a set of them may be.

The rules are AWS's (Athena User Guide, "Tag Athena resources"): at most 50 on a resource, letters,
digits, blanks and ``_ . : / = + - @``, and nothing that begins with ``aws:``. Lengths are the
model's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sparkowl.domain.errors import InvalidRequest

#: Most tags that one resource may have.
MAX_TAGS: Final = 50
_RESERVED: Final = "aws:"
_PUNCTUATION: Final = frozenset("_.:/=+-@")


def from_request(tags: Sequence[Mapping[str, Any]], member: str = "Tags") -> dict[str, str]:
    """The tags of a request by key; InvalidRequest names the first rule that one breaks."""
    found: dict[str, str] = {}
    for number, tag in enumerate(tags, start=1):
        path = f"{member}.{number}"
        key, value = tag.get("Key"), tag.get("Value", "")
        if key is None:
            raise InvalidRequest(f"{path}.Key is required.")
        require_free([key], f"{path}.Key")
        for name, text in (("Key", key), ("Value", value)):
            if not all(_allowed(character) for character in text):
                raise InvalidRequest(
                    f"{path}.{name} may hold letters, digits, blanks and _ . : / = + - @ only."
                )
        if key in found:
            raise InvalidRequest(f"{path}.Key {key} is given more than once.")
        found[key] = value
    return found


def require_free(keys: Iterable[str], path: str) -> None:
    """Raise for a key that is AWS's own."""
    for key in keys:
        if key.lower().startswith(_RESERVED):
            raise InvalidRequest(f"{path} {key} begins with {_RESERVED}, which is reserved.")


def with_added(current: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The tags of a resource with others added; equal keys are replaced."""
    result = {**current, **added}
    if len(result) > MAX_TAGS:
        raise InvalidRequest(
            f"Tags: a resource has at most {MAX_TAGS} tags; this one would have {len(result)}."
        )
    return result


def to_response(tags: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]


def _allowed(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LZN"

"""The conditions of a policy's statement, on the tags that a request brings.

The semantics are those of the IAM User Guide, "IAM JSON policy elements: Condition operators" and
"Set operators for multivalued context keys". Two keys exist, those that AWS defines for Athena:
``aws:RequestTag/<key>``, the value of one tag, and ``aws:TagKeys``, the keys of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sparkowl.domain.patterns import wildcard


class BadPolicy(Exception):
    """A policy that breaks a rule. The text names the place in the document, and the rule."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(f"{place}: {rule}" if place else rule)
        self.place = place


@dataclass(frozen=True, slots=True)
class Tags:
    """What conditions look at: the tags that a request gives, and the keys that it names."""

    #: Pairs, because a request can say a key twice; both must pass.
    pairs: Collection[tuple[str, str]]
    keys: Collection[str]


NO_TAGS: Final = Tags((), ())

_NULL: Final = "Null"
_IF_EXISTS: Final = "IfExists"
_ALL: Final = "ForAllValues"
_ANY: Final = "ForAnyValue"
_REQUEST_TAG: Final = "aws:requesttag/"
_TAG_KEYS: Final = "aws:tagkeys"

Matches = Callable[[str], bool]


def _equal(wanted: Collection[str]) -> Matches:
    return frozenset(wanted).__contains__


def _equal_in_any_case(wanted: Collection[str]) -> Matches:
    folded = frozenset(value.casefold() for value in wanted)
    return lambda value: value.casefold() in folded


def _like(wanted: Collection[str]) -> Matches:
    patterns = [wildcard(value) for value in wanted]
    return lambda value: any(pattern.fullmatch(value) for pattern in patterns)


#: Operator to how it compares, and whether it is the negated form.
_OPERATORS: Final[Mapping[str, tuple[Callable[[Collection[str]], Matches], bool]]] = {
    "StringEquals": (_equal, False),
    "StringNotEquals": (_equal, True),
    "StringEqualsIgnoreCase": (_equal_in_any_case, False),
    "StringNotEqualsIgnoreCase": (_equal_in_any_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    #: The key of the tag, folded: IAM compares keys without regard to case. None: ``aws:TagKeys``.
    tag: str | None
    matches: Matches
    negated: bool
    if_exists: bool
    #: ``ForAllValues`` or ``ForAnyValue``; on ``aws:TagKeys`` only.
    quantifier: str

    def holds(self, tags: Tags, *, granting: bool) -> bool:
        """Whether a request with these tags fulfils it; ``granting``: in a statement that allows.

        A request may bring two tags whose keys differ in case only. IAM does not say which one
        counts, so both do: all must fulfil what allows, and any is enough for what denies.
        """
        if self.tag is None:
            found = list(tags.keys)
            if not found:
                return self.if_exists or self.quantifier == _ALL
            every = self.quantifier == _ALL
        else:
            found = _named(tags, self.tag)
            if not found:
                return self.if_exists or self.negated
            every = granting
        results = (self.matches(value) is not self.negated for value in found)
        return all(results) if every else any(results)


@dataclass(frozen=True, slots=True)
class Absence:
    """``Null``: the key is absent, or is not."""

    tag: str | None
    wanted: bool

    def holds(self, tags: Tags, *, granting: bool) -> bool:
        found = tags.keys if self.tag is None else _named(tags, self.tag)
        return (not found) is self.wanted


def _named(tags: Tags, folded: str) -> list[str]:
    return [value for key, value in tags.pairs if key.casefold() == folded]


# --- reading -----------------------------------------------------------------------------------


def read(block: Any, place: str) -> tuple[Condition | Absence, ...]:
    """The conditions of a ``Condition`` member; :class:`BadPolicy` for what is none."""
    return tuple(
        _condition(operator, key, wanted, f"{place}.{operator}.{key}")
        for operator, keys in _members(block, place)
        for key, wanted in _members(keys, f"{place}.{operator}")
    )


def _members(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise BadPolicy(place, "must be an object with at least one member")
    yield from value.items()


def _condition(operator: str, key: str, wanted: Any, place: str) -> Condition | Absence:
    tag = _tag(key, place)
    if operator == _NULL:
        return _absence(tag, wanted, place)
    quantifier, colon, name = operator.rpartition(":")
    bare = name.removesuffix(_IF_EXISTS)
    if bare not in _OPERATORS or (colon and quantifier not in {_ALL, _ANY}):
        known = ", ".join([*_OPERATORS, _NULL])
        raise BadPolicy(
            place,
            f"there is no operator {operator}; there are {known}, those of strings also with "
            f"{_IF_EXISTS} behind and, for aws:TagKeys, {_ALL}: or {_ANY}: before",
        )
    if tag is None and not colon:
        raise BadPolicy(place, f"aws:TagKeys has many values: say {_ALL}: or {_ANY}: before it")
    if tag is not None and colon:
        raise BadPolicy(place, f"a tag has one value: {_ALL} and {_ANY} are for aws:TagKeys")
    compare, negated = _OPERATORS[bare]
    matches = compare(strings(wanted, place))
    return Condition(tag, matches, negated, name != bare, quantifier)


def _tag(key: str, place: str) -> str | None:
    folded = key.casefold()
    if folded == _TAG_KEYS:
        return None
    if folded.startswith(_REQUEST_TAG) and len(folded) > len(_REQUEST_TAG):
        return folded.removeprefix(_REQUEST_TAG)
    raise BadPolicy(
        place, f"there is no condition key {key}; there are aws:RequestTag/<tag key>, aws:TagKeys"
    )


def _absence(tag: str | None, wanted: Any, place: str) -> Absence:
    value = {True: "true", False: "false"}.get(wanted, wanted) if _is_plain(wanted) else None
    if value not in {"true", "false"}:
        raise BadPolicy(place, "Null takes true (the key is absent) or false")
    return Absence(tag, value == "true")


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | str)


def strings(value: Any, place: str) -> tuple[str, ...]:
    """One string or a list of them, none of which has a policy variable."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(v, str) for v in given):
        raise BadPolicy(place, "must be a string or a list of strings, and not empty")
    for one in given:
        if "${" in one:
            raise BadPolicy(place, f"{one} has a policy variable; those are not supported")
    return tuple(given)

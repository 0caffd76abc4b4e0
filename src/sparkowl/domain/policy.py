"""Who may do what: IAM's identity-based policies, and the principals that have them.

The language is that of the IAM User Guide, "IAM JSON policy elements reference": an explicit deny
wins, and what nothing allows is denied. Everything that is not understood is refused when a policy
is read, because a member that is passed over might have been the one that denies.

``NotAction`` and ``NotResource`` are understood: they are the same test, turned round, and the
usual way to say "everything but".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from sparkowl.domain import conditions, patterns
from sparkowl.domain.conditions import NO_TAGS, Absence, BadPolicy, Condition, Tags, strings

#: IAM's limit for a managed policy; white space between the members does not count.
MAX_POLICY_CHARACTERS: Final = 6_144
#: IAM's limit for the name of a user.
MAX_NAME_CHARACTERS: Final = 64

_VERSION: Final = "2012-10-17"
_STATEMENT: Final = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_SID: Final = re.compile(r"[A-Za-z0-9]{0,256}")
_ACTION: Final = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+")
_NAME: Final = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The actions or the resources of a statement."""

    expression: re.Pattern[str]
    #: As sent, for messages.
    texts: tuple[str, ...]
    #: ``Not...``: everything but these.
    inverted: bool = False

    def match(self, text: str) -> bool:
        return (self.expression.fullmatch(text) is None) is self.inverted


@dataclass(frozen=True, slots=True)
class Statement:
    effect: Effect
    actions: Patterns
    resources: Patterns
    conditions: tuple[Condition | Absence, ...] = ()

    def applies(self, action: str, resource: str, tags: Tags) -> bool:
        granting = self.effect is Effect.ALLOW
        return (
            self.actions.match(action)
            and self.resources.match(resource)
            and all(condition.holds(tags, granting=granting) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    statements: tuple[Statement, ...] = ()

    def decide(self, action: str, resource: str, tags: Tags = NO_TAGS) -> Effect | None:
        """DENY if any statement denies, else ALLOW if any allows, else None: nothing is said."""
        effect = None
        for statement in self.statements:
            if statement.applies(action, resource, tags):
                if statement.effect is Effect.DENY:
                    return Effect.DENY
                effect = Effect.ALLOW
        return effect


class Boundary(Protocol):
    """What a principal cannot go beyond, whatever its policy allows."""

    def hold(self, action: str, resource: str) -> bool:
        """Whether this is within it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has keys: made by the operator, or a session. Who calls is always one."""

    name: str
    policy: Policy
    boundary: Boundary | None = None

    def allows(self, action: str, *resources: str, tags: Tags = NO_TAGS) -> bool:
        """Whether the principal may do this to a resource.

        Several resources are several names of one: one of them must be allowed, none denied.
        """
        if not self.reaches(action, *resources):
            return False
        effects = {self.policy.decide(action, resource, tags) for resource in resources}
        return Effect.ALLOW in effects and Effect.DENY not in effects

    def reaches(self, action: str, *resources: str) -> bool:
        """Whether some policy could allow it: nothing that is in the way is this principal's."""
        return self.boundary is None or all(self.boundary.hold(action, one) for one in resources)


# --- reading -----------------------------------------------------------------------------------


def parse(text: str) -> Policy:
    """The policy of a JSON document; :class:`BadPolicy`, which names the place, for any other."""
    return _policy(document(text))


def document(text: str) -> dict[str, Any]:
    """The JSON object of a text; its members are not looked at yet."""
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadPolicy("", f"The policy is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise BadPolicy("", "The policy must be a JSON object.")
    size = len(compact(found))
    if size > MAX_POLICY_CHARACTERS:
        raise BadPolicy(
            "", f"The policy has {size} characters; at most {MAX_POLICY_CHARACTERS} are allowed."
        )
    return found


def compact(found: Mapping[str, Any]) -> str:
    """A document as it is kept: in ASCII, which holds also what is no Unicode."""
    return json.dumps(found, separators=(",", ":"))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadPolicy("", f"The member {twice} is there twice in one object.")
    return found


def _policy(found: Mapping[str, Any]) -> Policy:
    unknown = sorted(set(found) - {"Version", "Id", "Statement"})
    if unknown:
        raise BadPolicy(unknown[0], "there is no such member; there are Version, Id, Statement")
    if found.get("Version") != _VERSION:
        raise BadPolicy("Version", f"must be {_VERSION}")
    if not isinstance(found.get("Id", ""), str):
        raise BadPolicy("Id", "must be a string")
    listed = found.get("Statement")
    if isinstance(listed, dict):
        return Policy((_statement(listed, "Statement"),))
    if not isinstance(listed, list) or not listed:
        raise BadPolicy("Statement", "must be a statement or a list of them, and not empty")
    sids = [one["Sid"] for one in listed if isinstance(one, dict) and "Sid" in one]
    for sid in sids:
        if sids.count(sid) > 1:
            raise BadPolicy("Statement", f"two statements have the Sid {sid}")
    return Policy(tuple(_statement(one, f"Statement[{n}]") for n, one in enumerate(listed)))


def _statement(found: Any, place: str) -> Statement:
    if not isinstance(found, dict):
        raise BadPolicy(place, "must be an object")
    for name in ("Principal", "NotPrincipal"):
        if name in found:
            raise BadPolicy(f"{place}.{name}", "this policy belongs to a principal, and names none")
    unknown = sorted(set(found) - _STATEMENT)
    if unknown:
        known = ", ".join(sorted(_STATEMENT))
        raise BadPolicy(f"{place}.{unknown[0]}", f"there is no such member; there are {known}")
    sid = found.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise BadPolicy(f"{place}.Sid", "must be letters and digits")
    if found.get("Effect") not in {"Allow", "Deny"}:
        raise BadPolicy(f"{place}.Effect", "must be Allow or Deny")
    conditional = "Condition" in found
    return Statement(
        Effect(found["Effect"]),
        _patterns(found, place, "Action", action_pattern),
        _patterns(found, place, "Resource", patterns.arn),
        conditions.read(found["Condition"], f"{place}.Condition") if conditional else (),
    )


def _patterns(found: Mapping[str, Any], place: str, name: str, read: Any) -> Patterns:
    given = [member for member in (name, f"Not{name}") if member in found]
    if len(given) != 1:
        raise BadPolicy(f"{place}.{name}", f"must be given once, as {name} or as Not{name}")
    member = given[0]
    texts = strings(found[member], f"{place}.{member}")
    compiled = []
    for text in texts:
        try:
            compiled.append(read(text))
        except ValueError as error:
            raise BadPolicy(f"{place}.{member}", f"{text} {error}") from error
    return Patterns(patterns.any_of(compiled), texts, inverted=member.startswith("Not"))


def action_pattern(text: str) -> re.Pattern[str]:
    """The actions that a text of a policy stands for; ValueError, with the rule, for no such."""
    if not _ACTION.fullmatch(text):
        raise ValueError("must be * or <service>:<action>, such as athena:Get*")
    return patterns.wildcard(text, ignore_case=True)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a principal: IAM's rule for users, and ``root``."""
    if not _NAME.fullmatch(name):
        raise BadPolicy(
            "",
            f"A principal's name has 1 to {MAX_NAME_CHARACTERS} letters, digits and the characters "
            f"+=,.@_- only, unlike {name[:80]!r}.",
        )
    if name.casefold() == ROOT.name:
        raise BadPolicy("", "root is the principal of the first key, and may do everything.")


_EVERYTHING: Final = Statement(
    Effect.ALLOW,
    Patterns(patterns.wildcard("*"), ("*",)),
    Patterns(patterns.wildcard("*"), ("*",)),
)
#: The principal of the first key, which the server makes itself.
ROOT: Final = Principal("root", Policy((_EVERYTHING,)))
#: Before anybody has called.
NOBODY: Final = Principal("", Policy())

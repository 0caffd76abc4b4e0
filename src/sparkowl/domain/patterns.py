"""Wildcards of policies: ``*`` for any characters, ``?`` for one (IAM User Guide, "Resource").

A pattern becomes a regular expression that reads its text once: what lies between two stars is
looked for at its first place only, and never again. So a policy of many stars costs no more on a
long key than one of few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Parts of an ARN between colons: ``arn:partition:service:region:account:resource``.
_ARN_PARTS: Final = 6


def any_of(compiled: Sequence[re.Pattern[str]]) -> re.Pattern[str]:
    """One pattern for all of them, which have the same flags: asked once instead of many times."""
    joined = "|".join(f"(?:{one.pattern})" for one in compiled)
    return re.compile(joined, compiled[0].flags & (re.DOTALL | re.IGNORECASE))


def wildcard(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A pattern that stands for the whole text."""
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return re.compile(_expression(pattern, "."), flags)


def arn(pattern: str) -> re.Pattern[str]:
    """A pattern of ARNs; ``*`` alone stands for everything.

    Wildcards stay within their part, between colons; the resource, which comes last, may have
    colons of its own, and so may what a final ``*`` stands for. ValueError, with the rule, for what
    is no such pattern.
    """
    if pattern == "*":
        return wildcard(pattern)
    parts = pattern.split(":", _ARN_PARTS - 1)
    complete = len(parts) == _ARN_PARTS or pattern.endswith("*")
    if parts[0] != "arn" or len(parts) < 3 or not complete:
        raise ValueError(
            "must be * or an ARN, arn:<partition>:<service>:<region>:<account>:<resource>"
        )
    if not parts[2] or set(parts[2]) & set("*?"):
        raise ValueError("must name a service: the service of an ARN has no wildcards")
    *inner, last = parts
    expressions = [*(_expression(part, "[^:]") for part in inner), _expression(last, ".")]
    return re.compile(":".join(expressions), re.DOTALL)


def _expression(pattern: str, one: str) -> str:
    """``one`` is what a single character may be."""
    fixed = [
        "".join(one if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")
    ]
    if len(fixed) == 1:
        return fixed[0]
    first, *middle, last = fixed
    # An atomic group is not entered again: the first place where a part fits is as good as any.
    found = "".join(f"(?>{one}*?{part})" for part in middle if part)
    return f"{first}{found}{one}*{last}"

"""Taking secrets out of what leaves the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

GONE: Final = "(redacted)"
#: Spark's own default for ``spark.redaction.regex``, and what else names a secret.
_WORDS: Final = "secret|passw|passphrase|token|credential|(?:access|account|api)[._-]?key|private"
_NAME: Final = re.compile(rf"(?i){_WORDS}")
#: Shorter ones would take words apart that have nothing to do with them.
_SHORTEST: Final = 4
_IN_TEXT: Final = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END|\Z)"), GONE),
    # name=value, "name": "value", --name value; a value in quotes with all its blanks.
    (
        re.compile(
            rf"(?i)([\w.\-]*(?:{_WORDS})[\w.\-]*[\"']?\s*[=:]\s*"
            rf"|--[\w\-]*(?:{_WORDS})[\w\-]*[ ]+)"
            r"(?:(\")(?:[^\"\\\n]|\\.)*\"?|(')(?:[^'\\\n]|\\.)*'?|[^\s\"',;&]+)"
        ),
        rf"\1\2\3{GONE}\2\3",
    ),
    # https://user:password@host
    (re.compile(r"(://)[^/@\s\"']+@"), r"\1" + GONE + "@"),
    # Signed URLs and headers.
    (re.compile(r"(?i)((?:X-Amz-)?(?:Signature|Credential)=)[^&\s\"',]+"), r"\1" + GONE),
    # Of the URLs of notebooks the whole query: each host signs in its own way.
    (re.compile(r"(?i)(https://[^\s?#\"']+\.ipynb\?)[^\s\"']+"), r"\1" + GONE),
    (re.compile(r"(?i)(AWSAccessKeyId=)[^&\s\"']+"), r"\1" + GONE),
    (re.compile(r"(?i)(Bearer\s+)[^\s\"',]+"), r"\1" + GONE),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16,}\b"), GONE),
)


class Redactor:
    """Knows some secrets by themselves, and others by their names."""

    def __init__(self, known: Iterable[str]) -> None:
        wanted = {secret for secret in known if len(secret) >= _SHORTEST}
        # The longest first: one may be the beginning of another.
        self._known = sorted(wanted, key=len, reverse=True)

    def text(self, content: str) -> str:
        for secret in self._known:
            content = content.replace(secret, GONE)
        for pattern, instead in _IN_TEXT:
            content = pattern.sub(instead, content)
        return content

    def value(self, value: Any, name: str = "") -> Any:
        """The same of what becomes JSON: whatever a name says is secret, and texts as above."""
        if isinstance(value, dict):
            named = {"Key", "Value"} == value.keys()
            return {
                self.text(str(key)): self.value(
                    item, f"{value['Key']}" if named and key == "Value" else str(key)
                )
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(item, name) for item in value]
        if isinstance(value, str):
            return GONE if value and _NAME.search(name) else self.text(value)
        return value


def secrets_in(value: Any, name: str = "") -> Iterator[str]:
    """The texts that are secret by their names or their type: to be taken out wherever else they
    stand."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from secrets_in(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item, name)
    elif isinstance(value, SecretStr):
        yield from _sealed(value.get_secret_value())
    elif isinstance(value, str) and _NAME.search(name):
        yield value


def _sealed(text: str) -> Iterator[str]:
    """A setting that is never shown; of an address also its password, which others may write."""
    yield text
    with suppress(ValueError):  # not an address
        password = urlsplit(text).password
        if password:
            yield from (password, unquote(password))

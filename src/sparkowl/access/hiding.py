"""What of a request's parameters the audit log shows.

As CloudTrail does for Athena, code and notebooks are replaced by ``HIDDEN_FOR_SECURITY_REASONS``,
and so are the hashes of their content. Of properties, those are hidden whose key or value looks
secret: Spark's own rule (``spark.redaction.regex``), and what that one overlooks; and of URLs the
query, where signatures are. What is long is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

HIDDEN: Final = "HIDDEN_FOR_SECURITY_REASONS"
#: Of all parameters of a call together, as JSON.
MAX_PARAMETERS: Final = 4_096
#: Of a single text in them.
MAX_TEXT: Final = 512
MAX_ITEMS: Final = 64
_SHORT: Final = 64

_HIDDEN_MEMBERS: Final = frozenset({"CodeBlock", "Payload", "ContentMD5", "ContentHash"})
#: Members of the API whose names only look secret. They open nothing.
_HARMLESS: Final = frozenset({"ClientRequestToken", "NextToken"})
#: Members that hold properties, whose values Spark's rule is for as well as their keys.
_PROPERTIES: Final = frozenset({"SparkProperties", "Properties", "AdditionalConfigs", "Parameters"})
_SECRET: Final = re.compile(
    r"secret|password|passwd|passphrase|\bpwd\b|token|credential|authorization|bearer"
    # fs.azure.account.key.<account>, fs.azure.sas.<container>: Azure's two ways in.
    r"|(access|account|api|private|encryption).?key|\bsas\b"
    # A password in a URL.
    r"|://[^/?#\s:@]*:[^/?#\s@]+@",
    re.IGNORECASE,
)

_QUERY: Final = re.compile(r"(://[^\s?#]*\?)\S+")


def shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as they may be written down."""
    found = _object(parameters, properties=False)
    # Most are a name or an id, and need not be measured.
    if len(found) == 1 and all(isinstance(value, str) for value in found.values()):
        return found
    if len(json.dumps(found)) <= MAX_PARAMETERS:
        return found
    # What names things is short; what is long is a structure.
    return {
        name: "TOO_LONG" if isinstance(value, dict | list) else _cut(value, MAX_TEXT // 4)
        for name, value in list(found.items())[:16]
    }


def cut(text: str, length: int) -> str:
    """The beginning of a text, and how much more there was."""
    return text if len(text) <= length else f"{text[:length]}...(+{len(text) - length})"


def _object(value: Mapping[str, Any], *, properties: bool) -> dict[str, Any]:
    # A tag is {"Key": ..., "Value": ...}: its name is in the value of another member.
    tag = value.get("Key")
    secret_tag = isinstance(tag, str) and _SECRET.search(tag) is not None
    return {
        cut(name, MAX_TEXT): HIDDEN
        if _is_hidden(name, member, properties=properties) or (secret_tag and name == "Value")
        else _value(
            _without_query(member) if properties else member,
            properties=properties or name in _PROPERTIES,
        )
        for name, member in list(value.items())[:MAX_ITEMS]
    }


def _is_hidden(name: str, value: Any, *, properties: bool) -> bool:
    if name in _HIDDEN_MEMBERS:
        return True
    if name in _HARMLESS:
        return False
    # Members have few names, and clients that poll send the same ones all the time.
    known = _secret_name(name) if len(name) <= _SHORT else _SECRET.search(name) is not None
    if known:
        return True
    return properties and isinstance(value, str) and _SECRET.search(value) is not None


@lru_cache(maxsize=1024)
def _secret_name(name: str) -> bool:
    return _SECRET.search(name) is not None


def _without_query(value: Any) -> Any:
    return _QUERY.sub(rf"\1{HIDDEN}", value) if isinstance(value, str) else value


def _value(value: Any, *, properties: bool) -> Any:
    if isinstance(value, Mapping):
        return _object(value, properties=properties)
    if isinstance(value, list):
        return [_value(one, properties=properties) for one in value[:MAX_ITEMS]]
    return _cut(value, MAX_TEXT)


def _cut(value: Any, length: int) -> Any:
    return cut(value, length) if isinstance(value, str) else value

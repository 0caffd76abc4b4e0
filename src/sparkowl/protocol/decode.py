"""The request: target and body to a validated :class:`Call`.

Botocore checks only part of this in the client, and JavaScript nothing, so all of the model is
checked here: required members, types, lengths, ranges, patterns, enums. The words of a refusal are
AWS's: every broken rule of the request in one message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from sparkowl.domain.errors import InvalidRequest, UnknownOperation
from sparkowl.protocol import model

TARGET_PREFIX: Final = "AmazonAthena."
#: A value is repeated in a refusal up to this many characters.
_SHOWN: Final = 256
#: Broken rules that are named; what follows them is not looked at any more. Otherwise a long list
#: of wrong items would cost many times its size.
_MAX_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked against the model. Members that the model does not know are gone."""

    operation: str
    input: Mapping[str, Any]


def operation_of(target: str | None) -> OperationModel:
    """The operation that an ``X-Amz-Target`` names."""
    if not target:
        raise UnknownOperation("The request has no X-Amz-Target header.")
    if not target.startswith(TARGET_PREFIX):
        raise UnknownOperation(
            f"X-Amz-Target must be AmazonAthena.<Operation>, not {_cut(target)}."
        )
    operation = model.operations().get(target.removeprefix(TARGET_PREFIX))
    if operation is None:
        name = _cut(target.removeprefix(TARGET_PREFIX))
        raise UnknownOperation(f"Athena has no operation {name}.")
    return operation


def decode(operation: OperationModel, body: bytes) -> Call:
    """The call in a body; InvalidRequest, and nothing else, for anything that is not one."""
    try:
        values = json.loads(body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request body is not valid JSON.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if operation.input_shape is None:
        return Call(operation.name, {})
    broken: list[str] = []
    value = _structure(operation.input_shape, values, "", broken)
    if broken:
        count = f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected: "
        raise InvalidRequest(count + "; ".join(broken))
    return Call(operation.name, value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _structure(shape: StructureShape, value: Any, path: str, broken: list[str]) -> Any:
    if not isinstance(value, dict):
        return _wrong_type("structure", value, path, broken)
    for name in shape.required_members:
        if value.get(name) is None:
            broken.append(_constraint(None, _join(path, name), "Member must not be null"))
    return {
        name: _value(member, value[name], _join(path, name), broken)
        for name, member in shape.members.items()
        if value.get(name) is not None
    }


def _list(shape: ListShape, value: Any, path: str, broken: list[str]) -> Any:
    if not isinstance(value, list):
        return _wrong_type("list", value, path, broken)
    _check_length(shape, value, path, broken)
    checked = []
    for number, item in enumerate(value, start=1):
        if len(broken) >= _MAX_ERRORS:
            break
        checked.append(_value(shape.member, item, f"{path}.{number}.member", broken))
    return checked


def _map(shape: MapShape, value: Any, path: str, broken: list[str]) -> Any:
    if not isinstance(value, dict):
        return _wrong_type("map", value, path, broken)
    _check_length(shape, value, path, broken)
    checked = {}
    for key, item in value.items():
        if len(broken) >= _MAX_ERRORS:
            break
        _value(shape.key, key, f"{path}.key", broken)
        checked[key] = _value(shape.value, item, f"{path}.{_cut(key)}", broken)
    return checked


def _string(shape: Shape, value: Any, path: str, broken: list[str]) -> Any:
    if not isinstance(value, str):
        return _wrong_type("string", value, path, broken)
    if not _is_unicode(value):
        broken.append(_constraint(value, path, "Member must be valid Unicode"))
        return None
    _check_length(shape, value, path, broken)
    pattern = model.pattern_of(shape)
    if pattern is not None and pattern.fullmatch(value) is None:
        rule = f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}"
        broken.append(_constraint(value, path, rule))
    enum = shape.metadata.get("enum")
    if enum is not None and value not in enum:
        rule = f"Member must satisfy enum value set: [{', '.join(enum)}]"
        broken.append(_constraint(value, path, rule))
    return value


def _is_unicode(value: str) -> bool:
    """False for half a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(shape: Shape, value: Any, path: str, broken: list[str]) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return _wrong_type(shape.type_name, value, path, broken)
    bits = 31 if shape.type_name == "integer" else 63
    low, high = shape.metadata.get("min", -(2**bits)), shape.metadata.get("max", 2**bits - 1)
    if value < low:
        rule = f"Member must have value greater than or equal to {low}"
        broken.append(_constraint(value, path, rule))
    elif value > high:
        rule = f"Member must have value less than or equal to {high}"
        broken.append(_constraint(value, path, rule))
    return value


def _boolean(shape: Shape, value: Any, path: str, broken: list[str]) -> Any:
    return value if isinstance(value, bool) else _wrong_type("boolean", value, path, broken)


def _number(shape: Shape, value: Any, path: str, broken: list[str]) -> Any:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    # 1e999 is JSON, and infinite.
    return value if numeric and math.isfinite(value) else _wrong_type("number", value, path, broken)


_CHECKS: Final[Mapping[str, Callable[[Any, Any, str, list[str]], Any]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "boolean": _boolean,
    "timestamp": _number,
    "double": _number,
    "float": _number,
    "blob": _string,
}


def _value(shape: Shape, value: Any, path: str, broken: list[str]) -> Any:
    return _CHECKS[shape.type_name](shape, value, path, broken)


def _check_length(shape: Shape, value: Any, path: str, broken: list[str]) -> None:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    if len(value) < low:
        rule = f"Member must have length greater than or equal to {low}"
        broken.append(_constraint(value, path, rule))
    elif high is not None and len(value) > high:
        rule = f"Member must have length less than or equal to {high}"
        broken.append(_constraint(value, path, rule))


def _wrong_type(expected: str, value: Any, path: str, broken: list[str]) -> None:
    rule = f"Member must be of type {expected}"
    broken.append(_constraint(value, path or "request", rule))


def _constraint(value: Any, path: str, rule: str) -> str:
    return f"Value {_shown(value)} at '{path}' failed to satisfy constraint: {rule}"


def _shown(value: Any) -> str:
    """A value in a refusal. Never the inside of a container, which may be of any size and depth."""
    match value:
        case None:
            return "null"
        case list():
            return "'[...]'" if value else "'[]'"
        case dict():
            return "'{...}'" if value else "'{}'"
        case bool():
            return f"'{str(value).lower()}'"
        case _:
            return f"'{_cut(str(value))}'"


def _join(path: str, name: str) -> str:
    """AWS names members in lower camel case: ``engineConfiguration.maxConcurrentDpus``."""
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _cut(text: str) -> str:
    printable = "".join(_printable(text[:_SHOWN]))
    return printable if len(text) <= _SHOWN else printable + "..."


def _printable(text: str) -> Iterator[str]:
    for character in text:
        surrogate = "\ud800" <= character <= "\udfff"
        yield "?" if surrogate or (ord(character) < 32 and character not in "\n\t") else character

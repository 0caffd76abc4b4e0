"""Whether the raw JSON of an answer is what Athena's model says of it.

SDKs of typed languages read strictly by these shapes; boto3 reads nearly anything, so its parsed
answer proves nothing. Every client of :mod:`tests.serving` looks at every answer with this.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from sparkowl.protocol import model
from sparkowl.protocol.errors import COMMON_CODES

#: Seconds since the epoch that a time of ours can be: later than 2020, sooner than 2100.
_TIMES = (1_577_836_800, 4_102_444_800)


def require_model(operation_name: str, status: int, body: bytes) -> None:
    """AssertionError with every difference between an answer and the model."""
    operation = model.operations()[operation_name]
    found = json.loads(body, parse_constant=lambda name: f"{name} is not JSON")
    broken = list(misfits(operation, found) if status == 200 else error_misfits(operation, found))
    assert not broken, f"{operation_name} {status}: " + "; ".join(broken)


def misfits(operation: OperationModel, body: Any) -> Iterator[str]:
    """What is wrong with the body of a 200."""
    if operation.output_shape is None or not operation.output_shape.members:
        if body != {}:
            yield f"the answer has no members, not {body}"
        return
    yield from _value(operation.output_shape, body, "")


def error_misfits(operation: OperationModel, body: Any) -> Iterator[str]:
    """What is wrong with the body of a refusal."""
    code = body.get("__type")
    shapes = {shape.name: shape for shape in operation.error_shapes}
    if not isinstance(body.get("Message"), str) or not body["Message"]:
        yield "Message is missing"
    if code in shapes:
        members = {name: value for name, value in body.items() if name != "__type"}
        yield from _value(shapes[code], members, code)
    elif code not in COMMON_CODES:
        yield f"{code} is no error of {operation.name}"
    elif set(body) != {"__type", "Message"}:
        yield f"{code} has members {sorted(body)}"


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _list(shape, value, path)
    elif isinstance(shape, MapShape):
        yield from _map(shape, value, path)
    else:
        yield from _plain(shape, value, path)


def _structure(shape: StructureShape, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no structure: {value!r}"
        return
    yield from (f"{path}.{name} is not in the model" for name in value if name not in shape.members)
    yield from (
        f"{path}.{name} is required" for name in shape.required_members if name not in value
    )
    for name, member in shape.members.items():
        if name in value:
            yield from _value(member, value[name], f"{path}.{name}")


def _list(shape: ListShape, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is no list: {value!r}"
        return
    yield from _size(shape, len(value), path)
    for number, item in enumerate(value):
        yield from _value(shape.member, item, f"{path}[{number}]")


def _map(shape: MapShape, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no map: {value!r}"
        return
    yield from _size(shape, len(value), path)
    for key, item in value.items():
        yield from _value(shape.key, key, f"{path} key")
        yield from _value(shape.value, item, f"{path}[{key!r}]")


def _plain(shape: Shape, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "string":
        yield from _string(shape, value, path)
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{path} is no boolean: {value!r}"
    elif kind in {"integer", "long"}:
        yield from _integer(shape, value, path)
    elif kind == "timestamp":
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path} is no number of seconds: {value!r}"
        elif not math.isfinite(value) or not _TIMES[0] < value < _TIMES[1]:
            yield f"{path} is no time of now: {value!r}"
    else:
        yield f"{path} has the type {kind}, which no answer of ours has"


def _string(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path} is no string: {value!r}"
        return
    yield from _size(shape, len(value), path)
    enum = shape.metadata.get("enum")
    if enum is not None and value not in enum:
        yield f"{path} is not one of {enum}: {value!r}"
    pattern = model.pattern_of(shape)
    if pattern is not None and pattern.fullmatch(value) is None:
        yield f"{path} does not fit {pattern.pattern}: {value!r}"


def _integer(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        yield f"{path} is no whole number: {value!r}"
        return
    bits = 31 if shape.type_name == "integer" else 63
    low, high = shape.metadata.get("min", -(2**bits)), shape.metadata.get("max", 2**bits - 1)
    if not low <= value <= high:
        yield f"{path} is not from {low} to {high}: {value}"


def _size(shape: Shape, size: int, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)
    if not low <= size <= high:
        yield f"{path} has the length {size}, not {low} to {high}"


# --- which members there are -------------------------------------------------------------------


def members_of(shape: Shape | None, path: str = "") -> Iterator[str]:
    """The path of every member below a shape; ``[]`` goes into a list."""
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield f"{path}.{name}"
            yield from members_of(member, f"{path}.{name}")
    elif isinstance(shape, ListShape):
        yield from members_of(shape.member, f"{path}[]")


def members_in(value: Any, shape: Shape | None, path: str = "") -> Iterator[str]:
    """Those of :func:`members_of` that a body has."""
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            if name in value:
                yield f"{path}.{name}"
                yield from members_in(value[name], member, f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for item in value:
            yield from members_in(item, shape.member, f"{path}[]")

"""The answer: output values to the body that AWS SDKs read.

The model decides the form (timestamps are numbers, seconds since the epoch, with milliseconds).
A value that does not fit its shape is a bug of ours, and typed SDKs would choke on it, so it raises
instead of going out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape


def encode(operation: OperationModel, output: Mapping[str, Any]) -> bytes:
    """The body of a 200. Members that are None are left out."""
    if operation.output_shape is None:
        return b"{}"
    return _dump(_structure(operation.output_shape, output))


def encode_error(code: str, message: str, members: Mapping[str, str]) -> bytes:
    """The body of an error; ``__type`` is where boto reads the code."""
    return _dump({"__type": code, **members, "Message": message})


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _structure(shape: StructureShape, values: Mapping[str, Any]) -> dict[str, Any]:
    members = shape.members
    return {
        name: _value(members[name], value) for name, value in values.items() if value is not None
    }


def _value(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return _structure(shape, value)
    if isinstance(shape, ListShape):
        return [_value(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {str(key): _value(shape.value, item) for key, item in value.items()}
    if shape.type_name == "timestamp":
        assert isinstance(value, datetime)
        return round(value.timestamp(), 3)
    if shape.type_name in {"integer", "long"}:
        assert isinstance(value, int)
        return value
    if shape.type_name == "boolean":
        assert isinstance(value, bool)
        return value
    assert isinstance(value, str), f"{shape.name} must be a string, not {value!r}"
    return str(value)

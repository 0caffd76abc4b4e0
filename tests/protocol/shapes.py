"""Values that fit a shape of Athena's model, for every shape it has."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import strategies as st

from sparkowl.protocol import model

#: Lists and maps are at most this long, whatever the model allows.
LONGEST = 3

#: Values of shapes that have a pattern. Made from the patterns themselves they take minutes.
SAMPLES = (
    "spark", "a.b-c_D", "ü \U0001f989", "1", "/aws/athena/logs", "x" * 36,
    "000000000000", "00000000-0000-0000-0000-00000000000a", "https://host/path",
    "arn:aws:iam::000000000000:role/service-role/Spark", "s3://bucket/prefix/",
    "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "arn:aws:athena:us-east-1:000000000000:workgroup/spark",
    "arn:aws:sso:::instance/ssoins-0123456789abcdef",
    "arn:aws:sso::000000000000:application/ssoins-0123456789abcdef/apl-0123456789abcdef",
    "application/vnd.aws.athena.v1+json",
)  # fmt: skip


@cache
def fitting(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that satisfy every rule of the shape."""
    if isinstance(shape, StructureShape):
        required = {name: fitting(shape.members[name]) for name in shape.required_members}
        optional = {
            name: fitting(member)
            for name, member in shape.members.items()
            if name not in shape.required_members
        }
        return st.fixed_dictionaries(required, optional=optional)
    if isinstance(shape, ListShape):
        low, high = _length(shape)
        return st.lists(fitting(shape.member), min_size=low, max_size=high)
    if isinstance(shape, MapShape):
        low, high = _length(shape)
        return st.dictionaries(
            fitting(shape.key), fitting(shape.value), min_size=low, max_size=high
        )
    return _plain(shape)


def _length(shape: Shape) -> tuple[int, int]:
    low = shape.metadata.get("min", 0)
    return low, max(low, min(shape.metadata.get("max", LONGEST), LONGEST))


def _plain(shape: Shape) -> st.SearchStrategy[Any]:
    bits = {"integer": 31, "long": 63}.get(shape.type_name)
    if bits is not None:
        return st.integers(
            shape.metadata.get("min", -(2**bits)), shape.metadata.get("max", 2**bits - 1)
        )
    if shape.type_name == "string":
        return _text(shape)
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name == "timestamp":
        return st.integers(0, 4_000_000_000_000).map(
            lambda millis: datetime.fromtimestamp(millis // 1000, UTC).replace(
                microsecond=millis % 1000 * 1000
            )
        )
    return st.floats(allow_nan=False, allow_infinity=False)


def _text(shape: Shape) -> st.SearchStrategy[str]:
    if "enum" in shape.metadata:
        return st.sampled_from(sorted(shape.metadata["enum"]))
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    pattern = model.pattern_of(shape)
    if pattern is None:
        characters = st.characters(exclude_categories=["Cs"])
        return st.text(characters, min_size=low, max_size=min(high or 40, max(low, 40)))
    fits = [text for text in SAMPLES if pattern.fullmatch(text) and low <= len(text)]
    assert fits, f"no sample for {shape.name}: {pattern.pattern}"
    return st.sampled_from(fits)


# --- what does not fit --------------------------------------------------------------------------

#: Any JSON at all.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@cache
def nearly(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that look like the shape's, but for some that are anything at all."""
    if isinstance(shape, StructureShape):
        members = {name: nearly(member) | JSON for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members)
    if isinstance(shape, ListShape):
        return st.lists(nearly(shape.member) | JSON, max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(st.text(), nearly(shape.value) | JSON, max_size=3)
    return st.text() | st.integers() | st.booleans()

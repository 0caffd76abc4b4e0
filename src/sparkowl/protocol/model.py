"""Athena's service model, as botocore ships it: the exact shape of every operation.

The rest of the room walks these shapes; nothing here or there names a single operation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

SERVICE: Final = "athena"

#: In the model's Java patterns, the characters beyond the basic plane as a pair of surrogates.
_JAVA_ASTRAL: Final = r"\uD800\uDC00-\uDBFF\uDFFF"
_PYTHON_ASTRAL: Final = r"\U00010000-\U0010FFFF"


@cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model(SERVICE, "service-2"), SERVICE)


@cache
def operations() -> Mapping[str, OperationModel]:
    """Every operation of Athena by name, also those that SparkOwl has not built."""
    model = service()
    return {name: model.operation_model(name) for name in model.operation_names}


@cache
def declared_errors(operation: str) -> frozenset[str]:
    """The error codes that the model declares for an operation."""
    return frozenset(shape.name for shape in operations()[operation].error_shapes)


@cache
def pattern_of(shape: Shape) -> re.Pattern[str] | None:
    """The shape's pattern; like Java's ``matches``, it stands for the whole value."""
    pattern = shape.metadata.get("pattern")
    return None if pattern is None else re.compile(pattern.replace(_JAVA_ASTRAL, _PYTHON_ASTRAL))

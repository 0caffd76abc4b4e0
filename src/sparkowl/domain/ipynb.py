"""Which content is a notebook of nbformat 4: the rules of its schema on what a reader relies on.

Written out, because the library that has them takes a second to import. Not looked at is what no
reader needs: members that the schema does not know, details of metadata, what the data of a MIME
type is (libraries put there what they like), and whether cells have ids (Jupyter gives ids to those
that have none). Of an nbformat newer than ours, kinds of cells and outputs that we do not know are
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

#: The newest nbformat 4 whose kinds of cells and outputs are known here.
MINOR: Final = 5

Fault = str
Check = Callable[[Any], bool]


def fault(content: Any) -> Fault | None:
    """The first that is wrong with the content of an .ipynb; None: nothing."""
    return next(_faults(content), None)


def _faults(content: Any) -> Iterator[Fault]:
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        yield "its nbformat is not 4"
        return
    minor: Any = content.get("nbformat_minor")
    if not _is_count(minor):
        yield "its nbformat_minor is not a number"
        return
    yield from _members("", content, {"metadata": _is_object, "cells": _is_list})
    for number, cell in enumerate(content["cells"]):
        yield from _cell(f"cells[{number}]", cell, lenient=minor > MINOR)


def _cell(path: str, cell: Any, *, lenient: bool) -> Iterator[Fault]:
    if not _is_object(cell):
        yield f"{path} is not an object"
        return
    kind = cell.get("cell_type")
    if kind not in ("code", "markdown", "raw"):
        if lenient:
            yield from _members(path, cell, {"cell_type": _is_string, "metadata": _is_object})
        else:
            yield f"{path}.cell_type is not one of code, markdown, raw"
        return
    yield from _members(path, cell, {"metadata": _is_object, "source": _is_text})
    if kind == "code":
        yield from _members(path, cell, {"outputs": _is_list, "execution_count": _is_number})
        for number, output in enumerate(cell["outputs"]):
            yield from _output(f"{path}.outputs[{number}]", output, lenient=lenient)
    elif "attachments" in cell:
        yield from _members(path, cell, {"attachments": _are_objects})


def _output(path: str, output: Any, *, lenient: bool) -> Iterator[Fault]:
    if not _is_object(output):
        yield f"{path} is not an object"
        return
    kind = output.get("output_type")
    members = _OUTPUTS.get(kind) if isinstance(kind, str) else None
    if members is not None:
        yield from _members(path, output, members)
    elif lenient:
        yield from _members(path, output, {"output_type": _is_string})
    else:
        yield f"{path}.output_type is not one of {', '.join(_OUTPUTS)}"


def _members(path: str, found: Mapping[str, Any], rules: Mapping[str, Check]) -> Iterator[Fault]:
    for name, check in rules.items():
        where = f"{path}.{name}" if path else name
        if name not in found:
            yield f"{where} is missing"
        elif not check(found[name]):
            yield f"{where} is not {_WORDS[check]}"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _is_text(value: Any) -> bool:
    return _is_string(value) or _are_strings(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return value is None or _is_count(value)


def _are_objects(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(bundle, dict) for bundle in value.values())


_WORDS: Final[Mapping[Check, str]] = {
    _is_object: "an object",
    _is_list: "a list",
    _is_string: "text",
    _are_strings: "a list of texts",
    _is_text: "text, or a list of texts",
    _is_number: "a number, or null",
    _are_objects: "an object of objects",
}
_OUTPUTS: Final[Mapping[str, Mapping[str, Check]]] = {
    "execute_result": {
        "data": _is_object,
        "metadata": _is_object,
        "execution_count": _is_number,
    },
    "display_data": {"data": _is_object, "metadata": _is_object},
    "stream": {"name": _is_string, "text": _is_text},
    "error": {"ename": _is_string, "evalue": _is_string, "traceback": _are_strings},
}

"""Which names and contents a notebook may have; its content, against nbformat's own schema."""

from __future__ import annotations

import json
from typing import Any

import nbformat.v4
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.validator import get_validator

from sparkowl.domain import ipynb
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.notebook import (
    LARGEST,
    LONGEST_NAME,
    empty,
    free_name,
    require_name,
    require_payload,
)

# --- names -------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=LONGEST_NAME))
def test_a_name_is_refused_only_for_what_athena_does_not_take(name: str) -> None:
    forbidden = set(name) & set("/:\\") or name.lower().endswith(".ipynb")

    if forbidden:
        with pytest.raises(InvalidRequest, match=r"^Name: a notebook's name"):
            require_name(name)
    else:
        require_name(name)


@pytest.mark.parametrize("name", ["", "x" * 256, "a/b", "a:b", "a\\b", "a.ipynb", "A.IPYNB"])
def test_the_refusal_of_a_name_names_the_member(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^File: a notebook's name"):
        require_name(name, "File")


@given(
    st.text("ab ()23", min_size=1, max_size=LONGEST_NAME),
    st.integers(0, 12),
)
def test_a_free_name_is_free_and_one_that_may_be_given(name: str, times: int) -> None:
    taken: list[str] = []
    for _ in range(times):
        found = free_name(name, taken)
        assert found not in taken
        require_name(found)
        taken.append(found)
    assert taken[:1] == [name][:times]


def test_a_name_that_is_taken_is_counted_on() -> None:
    assert free_name("a", {"b"}) == "a"
    assert free_name("a", {"a", "a (2)"}) == "a (3)"
    assert free_name("x" * 255, {"x" * 255}) == "x" * 251 + " (2)"


# --- contents ----------------------------------------------------------------------------------

TEXTS = st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=2)
OBJECTS = st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2)
NUMBERS = st.none() | st.integers(0, 9)
BUNDLES = st.fixed_dictionaries(
    {},
    optional={
        "text/plain": TEXTS,
        "image/png": TEXTS,
        "application/json": OBJECTS,
        "application/vnd.x+json": st.lists(st.none(), max_size=2),
    },
)
OUTPUTS = st.one_of(
    st.fixed_dictionaries(
        {
            "output_type": st.just("execute_result"),
            "data": BUNDLES,
            "metadata": OBJECTS,
            "execution_count": NUMBERS,
        }
    ),
    st.fixed_dictionaries(
        {"output_type": st.just("display_data"), "data": BUNDLES, "metadata": OBJECTS}
    ),
    st.fixed_dictionaries(
        {"output_type": st.just("stream"), "name": st.just("stdout"), "text": TEXTS}
    ),
    st.fixed_dictionaries(
        {
            "output_type": st.just("error"),
            "ename": st.text(max_size=3),
            "evalue": st.text(max_size=3),
            "traceback": st.lists(st.text(max_size=3), max_size=2),
        }
    ),
)
IDS = st.text("abc-_1", min_size=1, max_size=5)
CELLS = st.one_of(
    st.fixed_dictionaries(
        {
            "cell_type": st.just("code"),
            "id": IDS,
            "metadata": OBJECTS,
            "source": TEXTS,
            "outputs": st.lists(OUTPUTS, max_size=3),
            "execution_count": NUMBERS,
        }
    ),
    st.fixed_dictionaries(
        {
            "cell_type": st.sampled_from(["markdown", "raw"]),
            "id": IDS,
            "metadata": OBJECTS,
            "source": TEXTS,
        },
        optional={"attachments": st.dictionaries(st.text("ab.", min_size=1), BUNDLES, max_size=2)},
    ),
)
CONTENTS = st.fixed_dictionaries(
    {
        "nbformat": st.just(4),
        "nbformat_minor": st.sampled_from([5, 6]),
        "metadata": OBJECTS,
        "cells": st.lists(CELLS, max_size=3),
    }
)
WRONG = st.sampled_from([None, True, -1, 1.5, "x", [], [1], {}, {"x": 1}])


def is_valid(content: Any) -> bool:
    """What nbformat's schema says of it; the library around it fails on some of what is wrong."""
    validator = get_validator(  # type: ignore[no-untyped-call]
        4, content["nbformat_minor"], relax_add_props=True
    )
    return next(iter(validator.iter_errors(content)), None) is None


@given(CONTENTS)
def test_every_notebook_of_nbformat_4_is_taken_letter_by_letter(content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False)

    assert is_valid(content)
    assert ipynb.fault(content) is None
    assert require_payload(text, "Payload") == text
    assert require_payload(text.encode(), "Payload") == text
    assert require_payload(text.encode("utf-8-sig"), "Payload") == text


@given(CONTENTS, st.data())
def test_what_is_altered_somewhere_is_refused_where_nbformat_refuses_it(
    content: Any, data: st.DataObject
) -> None:
    places = list(members_of(content))
    holder, name = data.draw(st.sampled_from(places))
    if name.endswith("_type"):
        # Of a newer nbformat, it may be another kind.
        content["nbformat_minor"] = 5
    if data.draw(st.booleans()):
        del holder[name]
    else:
        holder[name] = data.draw(WRONG)

    assert (ipynb.fault(content) is None) == is_valid(content)


def members_of(content: Any) -> Any:
    """Each member that a reader relies on: what holds it, and its name."""
    yield from ((content, name) for name in ("metadata", "cells"))
    for cell in content["cells"]:
        yield from ((cell, name) for name in cell if name != "id")
        for output in cell.get("outputs", ()):
            yield from ((output, name) for name in output)
            yield from ((output["data"], name) for name in output.get("data", ()))
        for bundle in cell.get("attachments", {}).values():
            yield from ((bundle, name) for name in bundle)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda more: st.lists(more)
                    | st.dictionaries(st.text(), more)) | st.binary())  # fmt: skip
def test_whatever_else_comes_is_refused_and_nothing_worse(value: Any) -> None:
    payload = value if isinstance(value, bytes) else json.dumps(value)

    with pytest.raises(InvalidRequest, match=r"^X is not a "):
        require_payload(payload, "X")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nbformat": 3}, "its nbformat is not 4"),
        ({"nbformat_minor": None}, "its nbformat_minor is not a number"),
        ({"nbformat_minor": True}, "its nbformat_minor is not a number"),
        ({"metadata": []}, "metadata is not an object"),
        ({"cells": [1]}, r"cells\[0\] is not an object"),
        ({"cells": [{"cell_type": []}]}, r"cells\[0\].cell_type is not one of code, markdown, raw"),
        (
            {"cells": [{"cell_type": "raw", "metadata": {}, "source": [1]}]},
            r"cells\[0\].source is not text, or a list of texts",
        ),
        ({"cells": [{"cell_type": "raw", "metadata": {}}]}, r"cells\[0\].source is missing"),
    ],
)
def test_a_refusal_says_where(changes: dict[str, Any], says: str) -> None:
    text = json.dumps(json.loads(empty()) | changes)

    with pytest.raises(InvalidRequest, match=rf"^Payload is not a valid notebook: {says}\.$"):
        require_payload(text, "Payload")


def test_cells_without_ids_and_kinds_of_a_newer_nbformat_are_taken() -> None:
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "source": "", "outputs": [],
            "execution_count": None}  # fmt: skip
    new = {"cell_type": "sql", "metadata": {}}
    output = cell | {"outputs": [{"output_type": "sound"}]}
    content = json.loads(empty())

    require_payload(json.dumps(content | {"cells": [cell]}), "Payload")
    require_payload(json.dumps(content | {"nbformat_minor": 6, "cells": [new, output]}), "Payload")
    for cells in ([new], [output]):
        with pytest.raises(InvalidRequest, match="is not one of"):
            require_payload(json.dumps(content | {"cells": cells}), "Payload")


def test_the_size_is_counted_in_bytes_of_utf_8() -> None:
    for text in (" " * (LARGEST + 1), "ü" * (LARGEST // 2 + 1)):
        for payload in (text, text.encode()):
            with pytest.raises(InvalidRequest, match=r"^X: a notebook has at most 10485760 bytes"):
                require_payload(payload, "X")
    text = empty() + " " * (LARGEST - len(empty()))
    assert require_payload(text, "X") == text


def test_a_new_notebook_is_one() -> None:
    assert is_valid(json.loads(empty()))
    assert ipynb.fault(json.loads(empty())) is None


def test_our_newest_nbformat_is_the_librarys() -> None:
    assert nbformat.v4.nbformat_minor == ipynb.MINOR
